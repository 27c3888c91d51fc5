import type { Locator, Page } from 'playwright-core';

/** Finds a panel of a dashboard by its title. */
export function panelOf(page: Page, title: string): Locator {
  return page.getByTestId('panel').filter({ has: page.getByRole('heading', { name: title, exact: true }) });
}

/** Returns the notice of a panel: what one reads when the pointer rests on its icon. */
export async function noticeOf(page: Page, title: string): Promise<string> {
  // The icon is there three times, for headers of different widths.
  const icon = panelOf(page, title).getByRole('button', { name: 'panel notices' }).filter({ visible: true });
  await page.mouse.move(0, 0);
  await icon.hover();
  const tooltip = page.getByRole('tooltip');
  const text = await tooltip.innerText();
  await page.mouse.move(0, 0);
  await tooltip.waitFor({ state: 'hidden' });
  return text;
}

/** Chooses an entry of a list that opens below a field. */
export async function choose(scope: Locator | Page, field: string | RegExp, entry: string | RegExp): Promise<void> {
  const page = 'page' in scope ? scope.page() : scope;
  await scope.getByRole('combobox', { name: field }).click();
  await page.getByRole('option', { name: entry, exact: true }).click();
}

/** Chooses a time range such as "Last 7 days". */
export async function chooseTimeRange(page: Page, entry: string): Promise<void> {
  await page
    .getByRole('combobox', { name: 'Select time range' })
    .or(page.getByText(/^Last \d+ /))
    .first()
    .click();
  await page.getByRole('option', { name: entry, exact: true }).click();
}

/** Types PromQL into the editor of the n-th query, as people do, in place of what is there. */
export async function typeQuery(scope: Locator | Page, query: string): Promise<void> {
  const page = 'page' in scope ? scope.page() : scope;
  const editor = scope.getByRole('textbox', { name: 'PromQL Expression' }).first();
  await editor.click();
  await page.keyboard.press('Control+A');
  // The editor closes brackets itself; inserted text is left as it is.
  await page.keyboard.insertText(query);
}
