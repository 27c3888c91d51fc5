import type { Locator, Page } from 'playwright-core';

/** Finds a panel of a dashboard by its title. */
export function panelOf(page: Page, title: string): Locator {
  return page.getByTestId('panel').filter({ has: page.getByRole('heading', { name: title, exact: true }) });
}

/** Returns the notice of a panel: what one reads when the pointer rests on its icon. */
export async function noticeOf(page: Page, title: string): Promise<string> {
  const panel = panelOf(page, title);
  // The icon is there three times, for headers of different widths.
  const icon = panel.getByRole('button', { name: 'panel notices' }).filter({ visible: true });
  const tooltip = page.getByRole('tooltip').first();
  const close = async (): Promise<void> => {
    await page.mouse.move(0, 0);
    await tooltip.waitFor({ state: 'hidden' });
  };
  await close(); // That of a button which was clicked before.
  await panel.getByRole('heading').hover(); // Now it has moved to make room for others.
  await icon.hover();
  const text = await tooltip.innerText();
  await close();
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
  // The cursor leaves what could be completed, and the list closes.
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('End');
}

/** Saves the dashboard that is edited. */
export async function save(page: Page, dashboard: string): Promise<void> {
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  const saved = page.getByText(`Dashboard ${dashboard} is saved`).last();
  // Perses asks what to do with values and time range if they are others than at the beginning.
  const question = page.getByRole('button', { name: 'Save Changes' });
  await saved.or(question).waitFor();
  if (await question.isVisible()) {
    await question.click();
    await saved.waitFor();
  }
}
