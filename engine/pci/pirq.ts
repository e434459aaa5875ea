/**
 * The number 0–3 of the PIRQ that INTA–INTD (`pin` 1–4) of `slot` drives: every slot is wired one further on, and
 * slot 1 (this bridge) starts at PIRQA. The interrupt table of the DSDT says the same.
 */
export function pirqOf(slot: number, pin: number): number {
  return (slot + pin + 2) & 3;
}
