/** A rejection that nobody waited for would end a daemon, so it fails the test in which it comes up. Mocha by itself says nothing of it. */
process.on("unhandledRejection", (reason) => {
  throw new Error("nobody waited for a promise that failed", { cause: reason });
});
