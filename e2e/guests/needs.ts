import type { TestContext } from 'node:test';
import { NotAvailable } from '../../scripts/debian.ts';

/** What `prepare` gives; where this machine cannot provide it the test is skipped with the reason, and undefined given. */
export function needs<T>(test: TestContext, prepare: () => T): T | undefined {
  try {
    return prepare();
  } catch (error) {
    if (error instanceof NotAvailable) {
      test.skip(error.message);
      return undefined;
    }
    throw error;
  }
}
