import { parseRate, RATE_GRAMMAR } from "#api";
import { isTimezone, MAX_WINDOWS, ownTimezone, parseWeekSpan, type RateChange, type RatePlan } from "#policy";
import { z } from "zod";

const UNLIMITED = "unlimited";

/** Bits do not appear in this program. */
const Rate = z.union([z.number(), z.string()]).transform((value, context) => {
  const rate = parseRate(String(value));
  if (rate !== undefined) return rate;
  context.addIssue(RATE_GRAMMAR);
  return z.NEVER;
});
/** In a window, also the word that lifts a limit. */
const OtherRate = z.union([z.number(), z.string()]).transform((value, context) => {
  if (value === UNLIMITED) return null;
  const rate = parseRate(String(value));
  if (rate !== undefined) return rate;
  context.addIssue(`${RATE_GRAMMAR}, or "${UNLIMITED}"`);
  return z.NEVER;
});
const When = z.string().transform((when, context) => {
  const span = parseWeekSpan(when);
  if (span !== undefined) return { when, span };
  context.addIssue('days, times or both, like "Mon-Fri 08:00-18:00", "Sat,Sun" or "22:00-06:00"');
  return z.NEVER;
});
const Timezone = z.string().max(64).refine(isTimezone, "the name of a time zone, like Europe/Berlin");

/** `wanBps` is short for both directions. */
function ratesOf<R extends z.ZodType>(rate: R) {
  return {
    uploadBps: rate.optional(),
    downloadBps: rate.optional(),
    wanBps: rate.optional(),
    wanUploadBps: rate.optional(),
    wanDownloadBps: rate.optional(),
  };
}

type Given<R> = { [N in keyof RateChange | "wanBps"]?: R | undefined };

function spread<R extends number | null>({ wanBps, ...given }: Given<R>): { [N in keyof RateChange]?: R } {
  const { uploadBps, downloadBps, wanUploadBps = wanBps, wanDownloadBps = wanBps } = given;
  return {
    ...(uploadBps === undefined ? {} : { uploadBps }),
    ...(downloadBps === undefined ? {} : { downloadBps }),
    ...(wanUploadBps === undefined ? {} : { wanUploadBps }),
    ...(wanDownloadBps === undefined ? {} : { wanDownloadBps }),
  };
}

const Window = z
  .strictObject({ when: When, ...ratesOf(OtherRate) })
  .transform(({ when, ...rates }) => ({ ...when, change: spread(rates) }))
  .refine(({ change }) => Object.keys(change).length > 0, "a window says at least one rate");

/**
 * `limits` of the configuration file. Bytes per second of artifacts' content; without one as fast as it goes. A window says other rates for a
 * time of the week; what it leaves out is as outside of it. Where windows overlap, the first in the list counts.
 */
export const Limits = z
  .strictObject({
    ...ratesOf(Rate),
    timezone: Timezone.optional(),
    windows: z.array(Window).max(MAX_WINDOWS).default([]),
  })
  .transform(({ timezone, windows, ...rates }): RatePlan => {
    return { base: spread(rates), windows, timezone: timezone ?? ownTimezone() };
  });
