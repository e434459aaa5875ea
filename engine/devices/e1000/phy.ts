/** The transceiver: a Marvell 88E1011S, as far as drivers look (IEEE 802.3, 22.2.4; Intel 317453, 13.5). */

const CONTROL = 0;
const STATUS = 1;
const ID1 = 2;
const ID2 = 3;
const ADVERTISEMENT = 4;
const LINK_PARTNER = 5;
const EXPANSION = 6;
const CONTROL_1000T = 9;
const STATUS_1000T = 10;
const EXTENDED_STATUS = 15;
const SPECIFIC_CONTROL = 16;
const SPECIFIC_STATUS = 17;
const EXTENDED_CONTROL = 20;

const CONTROL_RESET = 0x8000;
const CONTROL_AUTONEGOTIATE = 0x1000;
const CONTROL_RESTART = 0x0200;
/** 1000 Mb/s, full duplex. */
const CONTROL_DEFAULT = 0x1140;
/** 10 and 100 Mb/s in both duplexes, extended status, preamble suppression, auto-negotiation, extended registers. */
const STATUS_ABILITIES = 0x7949;
const STATUS_NEGOTIATED = 0x0020;
const STATUS_LINK = 0x0004;

export const PHY_ADDRESS = 1;
export const PHY_REGISTERS = 32;

const DEFAULTS: readonly (readonly [register: number, value: number])[] = [
  [CONTROL, CONTROL_DEFAULT],
  [ADVERTISEMENT, 0x0de1],
  [CONTROL_1000T, 0x0e00],
  [SPECIFIC_CONTROL, 0x0360],
  [EXTENDED_CONTROL, 0x0d60],
];
const WRITABLE = new Set([
  CONTROL,
  ADVERTISEMENT,
  7,
  CONTROL_1000T,
  SPECIFIC_CONTROL,
  18,
  EXTENDED_CONTROL,
  24,
  25,
  29,
  30,
]);

export class Phy {
  readonly registers = new Uint16Array(PHY_REGISTERS);

  constructor() {
    this.reset();
  }

  reset(): void {
    this.registers.fill(0);
    for (const [register, value] of DEFAULTS) {
      this.registers[register] = value;
    }
  }

  read(register: number, linkUp: boolean): number {
    switch (register) {
      case STATUS:
        return STATUS_ABILITIES | (linkUp ? STATUS_NEGOTIATED | STATUS_LINK : 0);
      case ID1:
        return 0x0141;
      case ID2:
        return 0x0c20;
      case LINK_PARTNER:
        return linkUp ? 0xcde1 : 0;
      case EXPANSION:
        return linkUp ? 0x000f : 0x0004;
      case STATUS_1000T:
        return linkUp ? 0x7c00 : 0;
      case EXTENDED_STATUS:
        return 0x3000;
      case SPECIFIC_STATUS:
        // 1000 Mb/s, full duplex, resolved, link.
        return linkUp ? 0xac00 : 0x8000;
      default:
        return this.registers[register] ?? 0;
    }
  }

  /** Returns true when the link is negotiated anew, which takes no time here. */
  write(register: number, value: number): boolean {
    if (register === CONTROL && (value & CONTROL_RESET) !== 0) {
      this.reset();
      return true;
    }
    if (WRITABLE.has(register)) {
      this.registers[register] = register === CONTROL ? value & ~(CONTROL_RESET | CONTROL_RESTART) : value;
    }
    return register === CONTROL && (value & CONTROL_AUTONEGOTIATE) !== 0 && (value & CONTROL_RESTART) !== 0;
  }
}
