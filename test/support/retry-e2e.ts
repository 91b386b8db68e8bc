import { sep } from "node:path";

/**
 * Tests with real processes are tried once more, because a busy machine can starve a daemon past any deadline. No other test is: one that fails
 * now and then, such as a property with an unlucky seed, has found something.
 */
export const mochaHooks = {
  beforeEach(this: Mocha.Context): void {
    const { currentTest } = this;
    if (currentTest?.file?.includes(`${sep}test${sep}e2e${sep}`) === true) currentTest.retries(1);
  },
};
