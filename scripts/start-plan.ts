/** What `npm start` finds on the host. */
export interface Surroundings {
  /** There is a screen to open windows on. */
  readonly display: boolean;
  /** Chromium's sandbox, which neither shell does without, refuses to work for the superuser. */
  readonly superuser: boolean;
  /** Electron's program: there, to be fetched, neither, or there but it does not come up. */
  readonly electron: 'installed' | 'fetchable' | 'missing' | 'broken';
  /** The path of an installed browser that can show a page as an app. */
  readonly browser: string | undefined;
  /** `--web`: the web shell is wanted. */
  readonly wantsWeb: boolean;
}

export interface Plan {
  readonly shell: 'desktop' | 'web';
  /** Why it is not the desktop shell, in one line. */
  readonly why: string | undefined;
  /** Show the web shell in a window of this browser. */
  readonly browser: string | undefined;
}

/** Decides between the shells. */
export function planStart({ display, superuser, electron, browser, wantsWeb }: Surroundings): Plan {
  const web = (why: string | undefined): Plan => ({
    shell: 'web',
    why,
    browser: display && !superuser ? browser : undefined,
  });
  if (wantsWeb) {
    return web(undefined);
  }
  if (electron === 'broken') {
    return web("Electron's program does not come up here, as it said above, so this is the web shell.");
  }
  if (electron === 'missing') {
    return web("Electron's program is not installed and cannot be had here, so this is the web shell.");
  }
  if (!display) {
    return web(
      electron === 'installed'
        ? 'There is no display to open a window on, so this is the web shell.'
        : "There is no display to open a window on, and Electron's program is not installed: this is the web shell.",
    );
  }
  if (superuser) {
    return web(
      'Electron does not run as root, so this is the web shell; start Lodge as an ordinary user for a window.',
    );
  }
  return { shell: 'desktop', why: undefined, browser: undefined };
}
