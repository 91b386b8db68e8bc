import type { Browser, BrowserContextOptions, Page } from "playwright-core";

/** A page that is open, what its console said was wrong, and the requests that it wanted to send anywhere else. */
export type OpenPage = { page: Page; errors: string[]; strays: string[] };

/** Opens an address and waits for the first picture. Requests to other hosts are refused and noted. */
export async function openPage(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<OpenPage> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const [errors, strays]: [string[], string[]] = [[], []];
  const { host } = new URL(url);
  await context.route(
    (asked) => asked.host !== host,
    (route) => {
      strays.push(route.request().url());
      return route.abort();
    },
  );
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(url);
  await page.locator("#counts", { hasText: /\S/u }).waitFor({ state: "attached" }); // the page allows no eval, by which functions are waited for
  return { page, errors, strays };
}
