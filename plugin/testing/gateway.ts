import type { IncomingHttpHeaders, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** A request that arrived at the server. */
export interface Seen {
  method?: string;
  path: string;
  /** Parameters of the URL and of the form. */
  parameters: Record<string, string[]>;
  headers: IncomingHttpHeaders;
  body: string;
}

/** An HTTP server in place of Perses and the gateway behind it. */
export interface TestServer {
  /** Such as http://127.0.0.1:1234. */
  url: string;
  /** The requests so far. */
  seen: Seen[];
  close: () => Promise<void>;
}

/** Starts a server on a free port. Its answers are JSON unless they say otherwise. */
export async function startServer(answer: (request: Seen, response: ServerResponse) => void): Promise<TestServer> {
  const seen: Seen[] = [];
  const server: Server = createServer((request, response) => {
    void text(request).then((body) => {
      const url = new URL(request.url ?? '', 'http://localhost');
      const isForm = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded') === true;
      const parameters = new URLSearchParams([...url.searchParams, ...new URLSearchParams(isForm ? body : '')]);
      const arrived: Seen = {
        method: request.method,
        path: url.pathname,
        parameters: Object.fromEntries([...new Set(parameters.keys())].map((key) => [key, parameters.getAll(key)])),
        headers: request.headers,
        body,
      };
      seen.push(arrived);
      response.setHeader('Content-Type', 'application/json');
      answer(arrived, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`,
    seen,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
