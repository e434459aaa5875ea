import type { OptionNames } from './machine-config.ts';
import type { SoundConfig, SoundConfigInput } from './sound-config.ts';
import { checkPath, optionalPath } from './validate-paths.ts';

/** The sound device of a configuration, checked; undefined when there is none. Throws HostError('usage'). */
export function soundOf(sound: SoundConfigInput | undefined, names: OptionNames): SoundConfig | undefined {
  if (sound === undefined) {
    return undefined;
  }
  if (sound.output.kind === 'wav') {
    checkPath(sound.output.path, `${names.sound} wav`);
  }
  const input = optionalPath(sound.input, `${names.sound} input`);
  return { output: sound.output, ...(input === undefined ? {} : { input }) };
}
