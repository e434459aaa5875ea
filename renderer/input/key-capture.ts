/** A press or release of a physical key, by its W3C `KeyboardEvent.code` name. */
export interface KeyChange {
  readonly code: string;
  readonly down: boolean;
}

/** The parts of a KeyboardEvent that matter here. */
export interface KeyInput {
  readonly code: string;
  readonly repeat: boolean;
}

export type HostPlatform = 'windows' | 'mac' | 'other';

export interface KeyCaptureOptions {
  /** The key that stays with the host, by its code. */
  readonly hostKey: string;
  readonly platform: HostPlatform;
  /** Keys for the guest, in order. */
  send(keys: readonly KeyChange[]): void;
  /** The host key was pressed and released with nothing in between. */
  hostKeyTapped(): void;
  /** A key was pressed while the host key is down. */
  hostCommand(code: string): void;
}

/** Hangul and Hanja: PC keyboards report no release of them, and neither do all browsers. */
const WITHOUT_RELEASE = new Set(['Lang1', 'Lang2']);

/** How long a left Ctrl waits on Windows for the right Alt that it may belong to, in milliseconds. */
const ALT_GR_WAIT_MILLIS = 40;

/**
 * Turns what the browser says about the keyboard into presses and releases of physical keys for the guest. It knows
 * which keys the guest believes are down, so that nothing stays pressed when the window loses the keyboard.
 *
 * Browsers do not report everything: Windows puts a left Ctrl in front of AltGr and only releases of PrintScreen; macOS
 * reports no releases while Command is down, and each change of CapsLock as one event.
 */
export class KeyCapture {
  hostKey: string;
  readonly #options: KeyCaptureOptions;
  readonly #down = new Set<string>();
  #hostDown = false;
  #hostUsed = false;
  #waitingControl: ReturnType<typeof setTimeout> | undefined;

  constructor(options: KeyCaptureOptions) {
    this.#options = options;
    this.hostKey = options.hostKey;
  }

  get hostKeyDown(): boolean {
    return this.#hostDown;
  }

  keyDown({ code, repeat }: KeyInput): void {
    if (code === '') {
      return;
    }
    if (code === this.hostKey) {
      if (!repeat) {
        this.#hostDown = true;
        this.#hostUsed = false;
      }
      return;
    }
    if (this.#hostDown) {
      this.#hostUsed = true;
      if (!repeat) {
        this.#options.hostCommand(code);
      }
      return;
    }
    // The guest's keyboard repeats by itself, at the rate the guest has set.
    if (repeat || this.#down.has(code)) {
      return;
    }
    const { platform } = this.#options;
    if (platform === 'windows' && code === 'ControlLeft') {
      this.#waitingControl = setTimeout(() => this.#flushControl(), ALT_GR_WAIT_MILLIS);
      return;
    }
    if (code === 'AltRight') {
      this.#dropControl();
    } else {
      this.#flushControl();
    }
    if (WITHOUT_RELEASE.has(code) || (platform === 'mac' && code === 'CapsLock')) {
      this.#click(code);
      return;
    }
    this.#press(code);
  }

  keyUp({ code }: KeyInput): void {
    if (code === '') {
      return;
    }
    if (code === this.hostKey) {
      const tapped = this.#hostDown && !this.#hostUsed;
      this.#hostDown = false;
      if (tapped) {
        this.#options.hostKeyTapped();
      }
      return;
    }
    this.#flushControl();
    const { platform } = this.#options;
    if (platform === 'mac' && code === 'CapsLock') {
      this.#click(code);
      return;
    }
    if (!this.#down.has(code)) {
      if (code === 'PrintScreen' && !this.#hostDown) {
        this.#click(code);
      }
      return;
    }
    if (platform === 'mac' && (code === 'MetaLeft' || code === 'MetaRight')) {
      this.releaseAll();
      return;
    }
    this.#down.delete(code);
    this.#options.send([{ code, down: false }]);
  }

  /** Releases whatever the guest believes is down: the window has lost the keyboard. */
  releaseAll(): void {
    this.#dropControl();
    this.#hostDown = false;
    const codes = [...this.#down].reverse();
    this.#down.clear();
    if (codes.length > 0) {
      this.#options.send(codes.map((code) => ({ code, down: false })));
    }
  }

  #press(code: string): void {
    this.#down.add(code);
    this.#options.send([{ code, down: true }]);
  }

  #click(code: string): void {
    this.#options.send([
      { code, down: true },
      { code, down: false },
    ]);
  }

  #flushControl(): void {
    if (this.#waitingControl !== undefined) {
      this.#dropControl();
      this.#press('ControlLeft');
    }
  }

  #dropControl(): void {
    clearTimeout(this.#waitingControl);
    this.#waitingControl = undefined;
  }
}

/** Presses `codes` together and releases them in reverse order. */
export function chord(...codes: readonly string[]): KeyChange[] {
  return [...codes.map((code) => ({ code, down: true })), ...codes.toReversed().map((code) => ({ code, down: false }))];
}
