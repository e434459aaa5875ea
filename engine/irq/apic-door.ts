/** The local APICs for those who know processors by their index: interfaces of hypervisors to their guests. */
export interface ApicDoor {
  /** A fixed, edge-triggered interrupt for one processor, whatever id its APIC goes by. */
  interrupt(cpu: number, vector: number): void;
  /** See LocalApic.readRegister. */
  readRegister(cpu: number, register: number): number;
  writeRegister(cpu: number, register: number, value: number): void;
}
