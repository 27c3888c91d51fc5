import type { ServerResponse } from 'node:http';
import type { LiveSample } from '../model/live-series';

/** What an event of the live endpoint says of its steps. */
interface EventOptions {
  id: number;
  start: number;
  end: number;
  result?: LiveSample[];
  tier?: string;
  reason?: string;
  warnings?: string[];
}

/** Writes a snapshot or an append as the gateway does, with steps of 15 s. */
export function liveEvent(
  event: 'snapshot' | 'append',
  { id, start, end, result = [], tier = 'hot', reason = 'below-threshold', warnings }: EventOptions
): string {
  const live = { start, end, step: 15, tier, reason };
  const data = { status: 'success', data: { resultType: 'matrix', result }, warnings, live };
  return `id: ${String(id)}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** Writes an event without an id. */
export function otherEvent(event: 'error' | 'end', data: object): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** Begins a stream of events. */
export function beginStream(response: ServerResponse, text = ''): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  response.flushHeaders();
  response.write(`retry: 20\n\n${text}`);
}
