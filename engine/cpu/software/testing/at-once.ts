/** Options with which every block is compiled at its first look-up. */
export const AT_ONCE = {
  samples: 1,
  sampleFuel: 1000,
  lookups: 1,
  region: { blocks: 64, instructions: 500 },
  maximumRegions: 100,
};
