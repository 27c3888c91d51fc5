import { GatewayError, REASON_HEADER, SOURCE_HEADER, TIER_HEADER } from './request';

/** What the gateway says of an answer, besides the data. */
export interface Answer {
  /** Tier that answered: hot, cold, or both as "hot,cold". Undefined where another server answered in its place. */
  tier?: string;
  /** Why this tier: one of the reasons of the documentation. One that is not known here is shown as it is. */
  reason?: string;
  /** External labels of the source of hot that answered, such as {cluster="eu-1"}; several are separated by commas. */
  source?: string;
  /** How long the gateway took, tier included, in milliseconds. */
  durationMs?: number;
  /** Why the answer may not be what one Prometheus with all data would have said. Empty if there is nothing to say. */
  warnings: string[];
  /** What the tier remarks on the query itself, such as a rate of something that is no counter. */
  infos: string[];
}

/** Any answer of the client. Those of the Prometheus API are; rawResponse is there because our client asked. */
interface AnswerBody {
  rawResponse?: Response;
  warnings?: string[];
  infos?: string[];
}

/** Reads what the gateway says of an answer of the client. */
export function answerOf(body: object): Answer {
  const { rawResponse, warnings, infos } = body as AnswerBody;
  const headers = rawResponse?.headers;
  return {
    tier: headers?.get(TIER_HEADER) ?? undefined,
    reason: headers?.get(REASON_HEADER) ?? undefined,
    source: headers?.get(SOURCE_HEADER) ?? undefined,
    durationMs: durationOf(headers?.get('Server-Timing')),
    warnings: distinct(warnings),
    infos: distinct(infos),
  };
}

/** Reads what the gateway says of an answer that is an error. Undefined where the error is none of an answer. */
export function answerOfError(error: unknown): Answer | undefined {
  return error instanceof GatewayError
    ? { tier: error.tier, reason: error.reason, source: error.source, warnings: [], infos: [] }
    : undefined;
}

/**
 * Adds up the durations of a Server-Timing header, in milliseconds: those of the gateway follow one another. Undefined
 * where there is none.
 */
export function durationOf(timing: string | null | undefined): number | undefined {
  const durations = [...(timing ?? '').matchAll(/;\s*dur=([0-9.]+)/g)].map(([, milliseconds]) => Number(milliseconds));
  return durations.length === 0 ? undefined : durations.reduce((sum, each) => sum + each, 0);
}

function distinct(texts: string[] | undefined): string[] {
  return [...new Set(texts)];
}

/** Reasons that say that a tier was not there or did not answer. */
const reasonsOfTrouble: readonly string[] = ['hot-unavailable', 'cold-unavailable', 'hot-failed', 'cold-failed'];

/** Whether something is wrong with an answer or with the tiers behind it; otherwise it is merely worth knowing. */
export function isWrong({ reason, warnings }: Pick<Answer, 'reason' | 'warnings'>): boolean {
  return warnings.length > 0 || reasonsOfTrouble.includes(reason ?? '');
}

/** Writes sources of hot for people: with a space between several. */
export function sourceText(source: string): string {
  return source.replaceAll('},{', '}, {');
}

/** Names the tiers of an answer, hot with its source: hot {cluster="eu-1"} and cold. Undefined where nobody said. */
export function tierText({ tier, source }: Pick<Answer, 'tier' | 'source'>): string | undefined {
  return tier
    ?.split(',')
    .map((each) => (each === 'hot' && source !== undefined ? `hot ${sourceText(source)}` : each))
    .join(' and ');
}

/** What the reasons of the gateway mean, for people. */
const reasonTexts: Readonly<Record<string, string>> = {
  forced: 'the query asks for this tier',
  'cold-parameter': 'the query has a parameter that only cold knows',
  'only-tier': 'there is no other tier',
  'hot-unavailable': 'hot is not available',
  'cold-unavailable': 'cold is not available',
  'older-than-hot': 'the query reads what is older than the data of hot',
  'not-in-hot': 'hot may not hold every series that the query asks for',
  'newer-than-cold': 'the query reads what cold does not hold yet',
  'not-in-cold': 'cold does not hold all samples of a metric that the query reads',
  'below-threshold': 'the query reads less than the threshold at once',
  'at-or-above-threshold': 'the query reads at least the threshold at once',
  'hot-failed': 'hot did not answer',
  'hot-empty': 'hot answered with nothing, which need not be all there is',
  'cold-failed': 'cold did not answer',
  confined: 'no series that the query selects is in the namespaces it is confined to',
  split: 'each tier answered a part of the time range',
};

/** Says what a reason means, in words that follow "because". A reason that is not known here is said as it is. */
export function reasonText(reason: string): string {
  return reasonTexts[reason] ?? reason;
}

/** Writes a duration in milliseconds for people: "12 ms" or "1.2 s". */
export function formatDuration(milliseconds: number): string {
  return milliseconds < 999.5 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
