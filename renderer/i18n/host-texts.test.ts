import { expect, test } from 'vitest';
import { acceleratorFinding, acceleratorReason } from './host-texts.ts';
import type { Text } from './i18n.ts';
import { messages } from './messages.ts';

/** Texts in Korean, with their values in place. */
const korean: Text = (key, values = {}) =>
  messages[key].ko.replace(/\{\{(\w+)\}\}/g, (_whole, name: string) => String(values[name] ?? `<${name}>`));

/** Everything that can be found out about KVM, with the values that come along. */
const FINDINGS: Readonly<Record<string, Readonly<Record<string, string | number>>>> = {
  'kvm-slow': { speed: 1.3 },
  'kvm-missing': {},
  'kvm-off': { module: 'kvm_intel', setting: 'Intel VT-x' },
  'kvm-forbidden': { group: 'kvm' },
  'kvm-addon': {},
  'kvm-elsewhere': {},
  'kvm-unfit': { problem: 'KVM_CAP_X is missing' },
  'kvm-busy': {},
  'kvm-failing': { problem: 'KVM_CREATE_VM: ENOMEM, no memory' },
  'kvm-foreign': {},
  'kvm-barred': {},
  'kvm-closed': {},
  'kvm-container': { module: 'kvm_intel', setting: 'Intel VT-x' },
};

test('why software runs a machine, and what is known of KVM, is said in Korean with the remedy', () => {
  for (const [why, details] of Object.entries(FINDINGS)) {
    const inUse = { name: 'software', label: 'Software', reason: 'English', why, details };
    const report = { name: 'kvm', usable: false, chosen: false, detail: 'English', why, details };
    for (const said of [acceleratorReason(inUse, korean), acceleratorFinding(report, korean)]) {
      expect(said, why).toMatch(/[가-힣]/);
      expect(said, why).not.toContain('<');
    }
  }
  const forbidden = { name: 'software', label: 'Software', reason: 'English', why: 'kvm-forbidden' };
  expect(acceleratorReason({ ...forbidden, details: { group: 'kvm' } }, korean)).toContain('usermod -aG kvm $USER');
  const other = [
    ['software', 'asked'],
    ['software', 'moved'],
    ['software', 'kvm-failed'],
    ['kvm', 'fast'],
    ['kvm', 'asked'],
    ['kvm', 'moved'],
  ] as const;
  for (const [name, why] of other) {
    expect(acceleratorReason({ name, label: name, reason: 'English', why }, korean)).toMatch(/[가-힣]/);
  }
});

test('what is not known, or lacks its values, is said as the machine said it', () => {
  const forbidden = { name: 'software', label: 'Software', reason: 'as it was told', why: 'kvm-forbidden' };
  expect(acceleratorReason(forbidden, korean)).toBe('as it was told');
  expect(acceleratorReason({ ...forbidden, why: 'something-new' }, korean)).toBe('as it was told');
  expect(acceleratorFinding({ name: 'kvm', usable: true, chosen: true, detail: 'told' }, korean)).toBe('told');
});
