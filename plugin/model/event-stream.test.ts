import { describe, expect, it, vi } from 'vitest';
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

  it('searches each piece of a long line once', () => {
    const exec = vi.spyOn(RegExp.prototype, 'exec');
    const parser = new EventStreamParser();
    const piece = 'x'.repeat(1000);
    const searched = (from: number): number =>
      exec.mock.calls.slice(from).reduce((sum, [text]) => sum + text.length, 0);
    parser.push('data: ');
    const from = exec.mock.calls.length;
    for (let i = 0; i < 2000; i++) {
      parser.push(piece);
    }
    expect(searched(from)).toBe(2000 * 1000);
    expect(parser.push('\n\n')[0]?.data).toHaveLength(2000 * 1000);
    exec.mockRestore();
  });
});
