import { type AudioSink, type AudioSource, nullSink, nullSource } from '../backends/audio/audio-backend.ts';
import { WavSink } from '../backends/audio/wav-sink.ts';
import { WavSource } from '../backends/audio/wav-source.ts';
import { HostError } from '../base/host-error.ts';
import type { Log } from '../base/log.ts';
import type { SoundConfig } from '../config/sound-config.ts';
import { canRecord } from '../virtio/sound/virtio-sound.ts';

/**
 * Opens what a guest plays to and records from; undefined: the machine has no sound device. Throws HostError when a file
 * cannot be used.
 */
export function openSound(
  config: SoundConfig | undefined,
  log: Log,
): { readonly sink: AudioSink; readonly source: AudioSource } | undefined {
  if (config === undefined) {
    return undefined;
  }
  // The file that is only read comes first: if it is none, the other stays as it is.
  const source = config.input === undefined ? nullSource : new WavSource(config.input);
  if (source.format !== undefined && !canRecord(source.format)) {
    const { channels, rate } = source.format;
    throw new HostError(
      'bad-sound',
      `--sound input ${config.input}: no sound card has ${channels} channels at ${rate} Hz`,
      {
        remedy: 'give a WAV file of 1 or 2 channels, at 8000 to 192000 Hz',
      },
    );
  }
  const { output } = config;
  return { sink: output.kind === 'wav' ? new WavSink(output.path, log) : nullSink, source };
}
