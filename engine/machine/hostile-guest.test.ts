import { test } from 'node:test';
import { type HostileRun, runHostileGuest } from './testing/hostile-guest.ts';
import { kvmForTests } from './testing/kvm-for-tests.ts';

/** Another seed tries other guests: LODGE_SEED=n. `scripts/fuzz-guests.ts` goes on for as long as it is let. */
const SEED = Number(process.env['LODGE_SEED'] ?? 1);

function addUp(sum: Record<string, number>, run: HostileRun): void {
  for (const [what, count] of Object.entries(run)) {
    sum[what] = (sum[what] ?? 0) + count;
  }
}

for (const where of ['software', 'KVM', 'KVM with its local APICs'] as const) {
  test(`${where}: whatever guests do ends in nothing but events of their machines`, (t) => {
    const localApics = where === 'KVM' ? 'machine' : 'kernel';
    const kvm = where === 'software' ? undefined : kvmForTests(t, { localApics });
    if (where !== 'software' && kvm === undefined) {
      return;
    }
    const sum: Record<string, number> = {};
    const end = performance.now() + 4000;
    let guests = 0;
    for (let seed = SEED; seed < SEED + 24 && (guests < 6 || performance.now() < end); seed++) {
      try {
        addUp(sum, runHostileGuest({ seed, kvm, turns: 30 }));
      } catch (error) {
        throw new Error(`the guest of seed ${seed}`, { cause: error });
      }
      guests++;
    }
    t.diagnostic(`${guests} guests from seed ${SEED}: ${JSON.stringify(sum)}`);
  });
}
