import { expect, type Locator, type Page } from '@playwright/test';
import type { RunningShell } from '../fixtures/shell.ts';
import { ConsolePage } from './console-page.ts';
import { WizardPage } from './wizard-page.ts';

/** The main window. */
export class ManagerPage {
  readonly page: Page;
  readonly #shell: RunningShell;

  constructor(shell: RunningShell) {
    this.#shell = shell;
    this.page = shell.manager;
  }

  get tryIt(): Locator {
    return this.page.getByRole('button', { name: 'Try it now' });
  }

  /** A machine in the list, in any state or a certain one. */
  machine(name: string, state?: string): Locator {
    return this.page.getByRole('option', { name: new RegExp(`^${name} ${state ?? '.*'}$`) });
  }

  button(name: string): Locator {
    return this.page.getByRole('button', { name, exact: true });
  }

  /** The demonstration guest from the empty list, running in its window. */
  async tryDemo(): Promise<ConsolePage> {
    return await new ConsolePage(await this.#shell.windowOpenedBy(() => this.tryIt.click())).started();
  }

  async start(name: string): Promise<ConsolePage> {
    await this.machine(name).click();
    return await new ConsolePage(await this.#shell.windowOpenedBy(() => this.button('Start').click())).started();
  }

  async powerOff(name: string): Promise<void> {
    await this.machine(name).click();
    await this.button('Stop').click();
    await this.page.getByRole('menuitem', { name: 'Power off' }).click();
    await this.page.getByRole('alertdialog').getByRole('button', { name: 'Power off' }).click();
    await expect(this.machine(name, 'Powered Off')).toBeVisible();
  }

  async newMachine(): Promise<WizardPage> {
    await this.button('New machine').click();
    return new WizardPage(this.page);
  }
}
