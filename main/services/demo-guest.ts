import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const BUILT = new URL('../../dist/guests/tour.img', import.meta.url);

/** The image of the built-in demonstration guest: as built with the app, or assembled from its sources. */
export async function demoGuestImage(): Promise<Uint8Array> {
  if (existsSync(fileURLToPath(BUILT))) {
    return readFileSync(BUILT);
  }
  const { buildTour } = await import('../../assets/guests/tour/build.ts');
  return buildTour();
}
