import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';

/** #GP with an error code (SDM 3A, 6.15, interrupt 13). */
export function generalProtection(errorCode = 0): GuestFault {
  return new GuestFault(L.VECTOR_GP, errorCode);
}

export function invalidTss(errorCode: number): GuestFault {
  return new GuestFault(L.VECTOR_TS, errorCode);
}

export function notPresent(errorCode: number): GuestFault {
  return new GuestFault(L.VECTOR_NP, errorCode);
}

export function stackFault(errorCode = 0): GuestFault {
  return new GuestFault(L.VECTOR_SS, errorCode);
}

export function undefinedOpcode(): GuestFault {
  return new GuestFault(L.VECTOR_UD);
}

/**
 * A fault found after a task switch was committed (SDM 3A, 7.3): it belongs to the new task's first instruction, whose
 * state is already loaded. The public operations deliver it themselves, so that their callers never see it.
 */
export class NewTaskFault extends GuestFault {
  constructor(fault: GuestFault) {
    super(fault.vector, fault.errorCode, fault.address);
  }
}

/** #DE, #TS, #NP, #SS and #GP: two of them in a row make a double fault (SDM 3A, table 6-4). */
export function isContributory(vector: number): boolean {
  return vector === L.VECTOR_DE || (vector >= L.VECTOR_TS && vector <= L.VECTOR_GP);
}

/** Whether `second`, raised while `first` was being delivered, becomes a double fault (SDM 3A, table 6-5). */
export function makesDoubleFault(first: number, second: number): boolean {
  if (first === L.VECTOR_PF) {
    return second === L.VECTOR_PF || isContributory(second);
  }
  return isContributory(first) && isContributory(second);
}
