import { expect, type Locator, type Page } from '@playwright/test';

/** The dialog of a machine's settings, in either language. */
export class MachineSettingsPage {
  readonly dialog: Locator;

  constructor(page: Page) {
    this.dialog = page.getByRole('dialog');
  }

  tab(name: string): Locator {
    return this.dialog.getByRole('tab', { name });
  }

  async show(name: string): Promise<void> {
    await this.tab(name).click();
    await expect(this.tab(name)).toHaveAttribute('aria-selected', 'true');
  }

  field(label: string): Locator {
    return this.dialog.getByLabel(label, { exact: true });
  }

  button(name: string): Locator {
    return this.dialog.getByRole('button', { name, exact: true });
  }
}
