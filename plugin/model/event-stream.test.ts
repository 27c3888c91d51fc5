import { describe, expect, it } from 'vitest';
import type { ServerEvent } from './event-stream';
import { EventStreamParser } from './event-stream';

/** Returns the events of a stream whose text arrives in pieces. */
function eventsOf(...pieces: string[]): ServerEvent[] {
  const parser = new EventStreamParser();
  return pieces.flatMap((piece) => parser.push(piece));
}

const stream = [
  'retry: 1000\n\n',
  ': keep-alive\n\n',
  'id: 15\nevent: snapshot\ndata: {"a":\ndata: "ü\u{1F525}"}\n\n',
  'event: append\nid: 30\ndata:{}\n\n',
  'data:  two spaces\n\n',
].join('');

const events: ServerEvent[] = [
  { event: 'snapshot', data: '{"a":\n"ü\u{1F525}"}', id: '15' },
  { event: 'append', data: '{}', id: '30' },
  { event: 'message', data: ' two spaces', id: '30' },
];

describe('a stream of events', () => {
  it.each([
    ['\\n', stream],
    ['\\r\\n', stream.replaceAll('\n', '\r\n')],
    ['\\r', stream.replaceAll('\n', '\r')],
  ])('is the same wherever it is cut, with lines that end with %s', (_, text) => {
    expect(eventsOf(text)).toEqual(events);
    expect(eventsOf(...text.split(''))).toEqual(events);
    for (let cut = 0; cut <= text.length; cut++) {
      expect(eventsOf(text.slice(0, cut), '', text.slice(cut))).toEqual(events);
    }
  });

  it('has no event whose end is missing', () => {
    expect(eventsOf('data: 1\n\ndata: 2\n')).toEqual([{ event: 'message', data: '1', id: '' }]);
  });

  it('has no event without data, whose name does not stay', () => {
    expect(eventsOf('event: append\n\ndata: 1\n\n')).toEqual([{ event: 'message', data: '1', id: '' }]);
  });

  it('says how long to wait, and ignores what it does not know', () => {
    const parser = new EventStreamParser();
    parser.push('retry: soon\n\n');
    expect(parser.retryMs).toBeUndefined();
    parser.push('retry: 250\nmore: 1\nid: with\0zero\ndata\n\n');
    expect(parser.retryMs).toBe(250);
    expect(parser.push('data: 1\n\n')).toEqual([{ event: 'message', data: '1', id: '' }]);
  });

  it('takes a long line in many pieces in a time that grows with its length only', () => {
    const timeOf = (pieces: number): number => {
      const parser = new EventStreamParser();
      const piece = 'x'.repeat(1000);
      const start = performance.now();
      parser.push('data: ');
      for (let i = 0; i < pieces; i++) {
        parser.push(piece);
      }
      expect(parser.push('\n\n')[0]?.data).toHaveLength(pieces * 1000);
      return performance.now() - start;
    };
    timeOf(2000);
    const [short, long] = [Math.min(timeOf(2000), timeOf(2000)), Math.min(timeOf(16_000), timeOf(16_000))];
    // In proportion it is 8; 64 if the whole line were searched for each piece.
    expect(long / short).toBeLessThan(32);
  });
});
