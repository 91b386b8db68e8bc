// Loaded into a daemon with `node --import`: sets its machine's clock off by CLOCK_OFF_MS milliseconds.
const now = Date.now;
Date.now = () => now() + Number(process.env.CLOCK_OFF_MS);
