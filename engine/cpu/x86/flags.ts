/**
 * The lazy form of the arithmetic flags. An instruction stores its result, sign-extended to 64 bits (LF_RES), and a word
 * of carries (LF_AUX); every flag then derives from the two without knowing which instruction it was:
 *
 *   ZF = LF_RES == 0        SF = LF_RES < 0 xor AUX.SD      PF = even parity of (LF_RES ^ AUX >> 8) & 0xff
 *   CF = AUX bit 31         OF = AUX bit 31 xor bit 30      AF = AUX bit 3
 *
 * Bits 31 and 30 are the carries out of and into the sign bit, bit 3 the carry out of bit 3, so that one carry vector
 * gives all three. SD and the parity byte are zero after arithmetic; they let any combination of flags be expressed.
 */
export const AUX_CF = 0x80000000 | 0;
export const AUX_PO = 0x40000000;
export const AUX_AF = 0x8;
export const AUX_SD = 0x1;
export const AUX_PARITY_SHIFT = 8;
