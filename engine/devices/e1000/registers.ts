/**
 * Registers of the 82540EM, offsets in bytes: "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
 * Manual" (Intel 317453), chapter 13.
 */
export const CTRL = 0x0000;
/** A second place of CTRL. */
export const CTRL_DUP = 0x0004;
export const STATUS = 0x0008;
export const EECD = 0x0010;
export const EERD = 0x0014;
export const MDIC = 0x0020;
export const VET = 0x0038;
export const ICR = 0x00c0;
export const ITR = 0x00c4;
export const ICS = 0x00c8;
export const IMS = 0x00d0;
export const IMC = 0x00d8;
export const RCTL = 0x0100;
export const TCTL = 0x0400;
export const LEDCTL = 0x0e00;
export const PBA = 0x1000;
export const RDBAL = 0x2800;
export const RDBAH = 0x2804;
export const RDLEN = 0x2808;
export const RDH = 0x2810;
export const RDT = 0x2818;
export const TDBAL = 0x3800;
export const TDBAH = 0x3804;
export const TDLEN = 0x3808;
export const TDH = 0x3810;
export const TDT = 0x3818;
/** Statistics, cleared when they are read. */
export const STATISTICS = 0x4000;
export const STATISTICS_END = 0x4100;
export const RXCSUM = 0x5000;
export const MTA = 0x5200;
export const RA = 0x5400;
export const RA_END = 0x5480;
export const VFTA = 0x5600;
export const MANC = 0x5820;
/** Registers beyond read as zero; the packet buffer from 10000h on is not modelled. */
export const REGISTERS_END = 0x6000;

export const CTRL_FD = 1 << 0;
export const CTRL_SLU = 1 << 6;
export const CTRL_SPEED_1000 = 2 << 8;
export const CTRL_RST = 1 << 26;
export const CTRL_VME = 1 << 30;
export const CTRL_PHY_RST = 0x8000_0000;

export const STATUS_FD = 1 << 0;
export const STATUS_LU = 1 << 1;
export const STATUS_SPEED_1000 = 2 << 6;

export const ICR_TXDW = 1 << 0;
export const ICR_TXQE = 1 << 1;
export const ICR_LSC = 1 << 2;
export const ICR_RXDMT0 = 1 << 4;
export const ICR_RXT0 = 1 << 7;
export const ICR_MDAC = 1 << 9;

export const RCTL_EN = 1 << 1;
export const RCTL_UPE = 1 << 3;
export const RCTL_MPE = 1 << 4;
export const RCTL_LPE = 1 << 5;
export const RCTL_BAM = 1 << 15;
export const RCTL_VFE = 1 << 18;
export const RCTL_BSEX = 1 << 25;
export const RCTL_SECRC = 1 << 26;

export const TCTL_EN = 1 << 1;
export const TCTL_PSP = 1 << 3;

export const RXCSUM_IPOFL = 1 << 8;
export const RXCSUM_TUOFL = 1 << 9;

export const EERD_START = 1 << 0;
export const EERD_DONE = 1 << 4;

export const MDIC_OP_WRITE = 1;
export const MDIC_OP_READ = 2;
export const MDIC_READY = 1 << 28;
export const MDIC_INTERRUPT = 1 << 29;
export const MDIC_ERROR = 1 << 30;

/** Statistics that this device counts. */
export const GPRC = 0x4074;
export const BPRC = 0x4078;
export const MPRC = 0x407c;
export const GPTC = 0x4080;
export const GORCL = 0x4088;
export const GOTCL = 0x4090;
export const TORL = 0x40c0;
export const TOTL = 0x40c8;
export const TPR = 0x40d0;
export const TPT = 0x40d4;
