import { expect, type Locator, type Page } from '@playwright/test';
import { decodePng, type Picture } from '../guests/png.ts';

/** The window of a machine. */
export class ConsolePage {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  /** Waits until the machine has started, or has not been able to. */
  async started(): Promise<this> {
    const title = this.page.getByRole('heading', { level: 1 });
    await expect(title).toHaveText(/ – (?!Starting)/);
    return this;
  }

  /** What takes the guest's keys. */
  get surface(): Locator {
    return this.page.getByRole('application');
  }

  get canvas(): Locator {
    return this.page.locator('canvas');
  }

  /** The guest's screen as it is shown. */
  async picture(): Promise<Picture> {
    return decodePng(await this.canvas.screenshot({ animations: 'disabled' }));
  }

  /** Waits until the guest's screen looks as wanted. */
  async waitForPicture(what: string, wanted: (picture: Picture) => boolean, timeout = 60_000): Promise<Picture> {
    await this.canvas.waitFor({ timeout });
    let last: Picture | undefined;
    await expect
      .poll(
        async () => {
          last = await this.picture();
          return wanted(last);
        },
        { message: what, timeout, intervals: [300, 500, 1000] },
      )
      .toBe(true);
    if (last === undefined) {
      throw new Error(`${what} was not seen`);
    }
    return last;
  }

  async press(...keys: readonly string[]): Promise<void> {
    await this.surface.focus();
    for (const key of keys) {
      await this.page.keyboard.press(key, { delay: 40 });
    }
  }

  readonly choose = async (menu: string, item: string): Promise<void> => {
    await this.page.getByRole('menuitem', { name: menu, exact: true }).click();
    await this.page.getByRole('menuitem', { name: item, exact: true }).click();
  };

  async powerOff(): Promise<void> {
    await this.choose('Machine', 'Power off');
    await this.page.getByRole('alertdialog').getByRole('button', { name: 'Power off' }).click();
    await expect(this.page.getByText('The machine is off')).toBeVisible();
  }
}
