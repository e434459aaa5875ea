import { z } from 'zod';

/** A path on the host that runs the machines; relative ones are refused by the services. */
export const pathSchema = z
  .string()
  .min(1)
  .max(4096)
  .refine((path) => !path.includes('\0'), 'a path cannot hold a zero character');
