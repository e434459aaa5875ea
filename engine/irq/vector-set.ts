/** A set of interrupt vectors 0 … 255, as IRR, ISR and TMR of a local APIC are. */
export class VectorSet {
  /** Word `i` holds vectors 32 × i … 32 × i + 31. */
  readonly words = new Uint32Array(8);

  has(vector: number): boolean {
    return ((this.words[vector >>> 5] ?? 0) & (1 << (vector & 31))) !== 0;
  }

  add(vector: number): void {
    this.words[vector >>> 5] = (this.words[vector >>> 5] ?? 0) | (1 << (vector & 31));
  }

  delete(vector: number): void {
    this.words[vector >>> 5] = (this.words[vector >>> 5] ?? 0) & ~(1 << (vector & 31));
  }

  /** The greatest vector in the set, or −1. */
  highest(): number {
    for (let i = 7; i >= 0; i--) {
      const word = this.words[i] ?? 0;
      if (word !== 0) {
        return (i << 5) | (31 - Math.clz32(word));
      }
    }
    return -1;
  }

  clear(): void {
    this.words.fill(0);
  }
}
