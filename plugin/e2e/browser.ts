import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page, Request } from 'playwright-core';
import { chromium } from 'playwright-core';
import type { TestContext } from 'vitest';
import { expect } from 'vitest';
import { environment } from './environment';

/** How long the page may take for anything. Generous: two cores run all the servers as well. */
const PATIENCE = 120_000;

const widths = [1280, 768];
const schemes = ['light', 'dark'] as const;

/** A page in a browser, with what it complained about and what it waits for. */
export class Tab {
  /** Errors of the console and of scripts since the last examination. */
  private complaints: string[] = [];
  private readonly running = new Set<Request>();
  private lastRequest = 0;
  private shots = 0;

  private constructor(
    private readonly name: string,
    private readonly url: string,
    private readonly browser: Browser,
    readonly page: Page
  ) {
    page.setDefaultTimeout(PATIENCE);
    page.on('console', (message) => {
      if (message.type() === 'error') {
        this.complaints.push(`${message.text()} (${message.location().url})`);
      }
    });
    page.on('pageerror', (error) => {
      this.complaints.push(error.stack ?? error.message);
    });
    page.on('request', (request) => {
      // A stream does not end, and a page with one rests all the same.
      if (!request.url().includes('/api/v1/metrics/live?')) {
        this.running.add(request);
        this.lastRequest = Date.now();
      }
    });
    const end = (request: Request): void => {
      if (this.running.delete(request)) {
        this.lastRequest = Date.now();
      }
    };
    page.on('requestfinished', end);
    page.on('requestfailed', end);
  }

  /**
   * Starts a browser with one page. Its screenshots begin with the name.
   *
   * @param options.insecure accepts every certificate
   * @param options.script runs in each page before its own scripts
   */
  static async open(
    name: string,
    url = environment.page,
    { insecure = false, script }: { insecure?: boolean; script?: () => void } = {}
  ): Promise<Tab> {
    const browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      // The sandbox of Chromium does not work for root, which containers of CI run as.
      args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
    });
    const context = await browser.newContext({
      timezoneId: 'Europe/Berlin',
      colorScheme: 'light',
      ignoreHTTPSErrors: insecure,
    });
    if (script !== undefined) {
      await context.addInitScript(script);
    }
    return new Tab(name, url, browser, await context.newPage());
  }

  async close(): Promise<void> {
    await this.browser.close();
  }

  /** Goes to a path of the page, in the window and theme that tests run in. */
  async goto(path: string): Promise<void> {
    await this.look(widths[0], schemes[0]);
    // What the page before still asks for ends unnoticed once it is gone.
    await this.page.goto('about:blank');
    this.running.clear();
    await this.page.goto(this.url + path);
  }

  /**
   * Ends a test: fails it if the page complained since the one before about anything but what is allowed here, and shows
   * what a test that failed saw last.
   */
  async examine({ task }: TestContext, allowed: RegExp[] = []): Promise<void> {
    if (task.result?.state === 'fail') {
      await this.page.screenshot({ path: join(environment.screenshots, `${this.name}-failed.png`) });
    }
    const taken = this.complaints;
    this.complaints = [];
    expect(taken.filter((each) => !allowed.some((pattern) => pattern.test(each)))).toEqual([]);
  }

  /** Waits until nothing is loading any more: no request, no placeholder, and the last frame is drawn. */
  async settle(): Promise<void> {
    const deadline = Date.now() + PATIENCE;
    const quiet = 300;
    for (;;) {
      await this.page
        .locator('.MuiSkeleton-root:visible, .MuiCircularProgress-root:visible')
        .first()
        .waitFor({ state: 'hidden' });
      const rest = this.running.size > 0 ? quiet : this.lastRequest + quiet - Date.now();
      if (rest <= 0) {
        break;
      }
      if (Date.now() > deadline) {
        const waitsFor = [...this.running].map((request) => `${request.method()} ${request.url()}`);
        throw new Error(`the page does not come to rest; it waits for ${waitsFor.join(', ')}`);
      }
      await this.page.waitForTimeout(Math.min(rest, 50));
    }
    await this.page.evaluate(
      () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
    );
  }

  /** Takes screenshots of what is to be seen: all looks with E2E_SCREENSHOTS=all, and each time another one without. */
  async shoot(name: string, { height }: { height?: number } = {}): Promise<void> {
    mkdirSync(environment.screenshots, { recursive: true });
    this.shots++;
    const prefix = `${this.name}-${String(this.shots).padStart(2, '0')}-${name}`;
    const looks = widths.flatMap((width) => schemes.map((scheme) => ({ width, scheme })));
    const taken = process.env.E2E_SCREENSHOTS === 'all' ? looks : [looks[this.shots % looks.length]];
    for (const { width, scheme } of taken) {
      await this.look(width, scheme, height);
      await this.settle();
      await this.page.screenshot({
        path: join(environment.screenshots, `${prefix}-${String(width)}-${scheme}.png`),
        animations: 'disabled',
      });
    }
    await this.look(widths[0], schemes[0]);
    await this.settle();
  }

  private async look(width: number | undefined, colorScheme: 'light' | 'dark', height = 1000): Promise<void> {
    await this.page.setViewportSize({ width: width ?? 1280, height });
    await this.page.emulateMedia({ colorScheme });
  }
}
