/** An event of a stream of Server-Sent Events. */
export interface ServerEvent {
  /** Name of the event; message where the stream gives none. */
  event: string;
  data: string;
  /** Id of the last event that had one, this one included. Empty before there is one. */
  id: string;
}

/**
 * Takes a text/event-stream apart as its text arrives, whatever the places at which the text is cut. An event counts once
 * the empty line behind it is there; what a connection that breaks leaves of an event never does.
 */
export class EventStreamParser {
  /** How long to wait before a reconnect, as the stream says, in milliseconds. */
  retryMs?: number;
  private line: string[] = [];
  private afterCarriageReturn = false;
  private event = '';
  private data: string[] = [];
  private id = '';

  /** Takes more of the text and returns the events that it completes. */
  push(text: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    let start = 0;
    if (this.afterCarriageReturn && text.startsWith('\n')) {
      start = 1;
    }
    if (text !== '') {
      this.afterCarriageReturn = text.endsWith('\r');
    }
    const ends = /\r\n|\n|\r/g;
    ends.lastIndex = start;
    for (let end = ends.exec(text); end !== null; end = ends.exec(text)) {
      // A long line arrives in many pieces. Each is searched once, and they are put together once.
      this.line.push(text.slice(start, end.index));
      start = ends.lastIndex;
      const line = this.line.join('');
      this.line = [];
      const event = this.take(line);
      if (event !== undefined) {
        events.push(event);
      }
    }
    this.line.push(text.slice(start));
    return events;
  }

  /** Takes a line; returns the event that it completes. */
  private take(line: string): ServerEvent | undefined {
    if (line === '') {
      const { event, data, id } = this;
      this.event = '';
      this.data = [];
      return data.length === 0 ? undefined : { event: event === '' ? 'message' : event, data: data.join('\n'), id };
    }
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') {
      this.event = value;
    } else if (field === 'data') {
      this.data.push(value);
    } else if (field === 'id' && !value.includes('\0')) {
      this.id = value;
    } else if (field === 'retry' && /^\d+$/.test(value)) {
      this.retryMs = Number(value);
    }
    return undefined;
  }
}
