/** The sound device of a machine: what `--sound` says. */

/** Where the guest's sound goes. */
export type SoundOutput =
  /** Nowhere, at the pace of the guest's clock. */
  | { readonly kind: 'null' }
  /** Into a WAV file; a recording in another format goes into a file of its own beside it, NAME-2.wav and so on. */
  | { readonly kind: 'wav'; readonly path: string };

export interface SoundConfig {
  readonly output: SoundOutput;
  /** A WAV file that the guest hears as from a microphone, over and over; undefined: silence. */
  readonly input?: string;
}

export interface SoundConfigInput {
  readonly output: SoundOutput;
  readonly input?: string | undefined;
}
