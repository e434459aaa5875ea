import type { Locator, Page } from '@playwright/test';

/** The wizard that makes a machine. */
export class WizardPage {
  readonly dialog: Locator;

  constructor(page: Page) {
    this.dialog = page.getByRole('dialog', { name: 'New virtual machine' });
  }

  field(label: string): Locator {
    return this.dialog.getByLabel(label, { exact: true });
  }

  async next(): Promise<void> {
    await this.dialog.getByRole('button', { name: 'Next' }).click();
  }

  async create(): Promise<void> {
    await this.dialog.getByRole('button', { name: 'Create' }).click();
    await this.dialog.waitFor({ state: 'hidden' });
  }
}
