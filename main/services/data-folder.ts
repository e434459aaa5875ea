import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Names a folder to use instead of the usual one. */
export const HOME_VARIABLE = 'LODGE_HOME';

export interface HostConventions {
  readonly environment: { readonly [name: string]: string | undefined };
  readonly platform: string;
  readonly home: string;
}

/** Where Lodge keeps machines, settings and its lock: by the conventions of the host, or where LODGE_HOME says. */
export function dataFolder(
  { environment, platform, home }: HostConventions = {
    environment: process.env,
    platform: process.platform,
    home: homedir(),
  },
): string {
  const named = environment[HOME_VARIABLE];
  if (named !== undefined && named !== '') {
    return resolve(named);
  }
  switch (platform) {
    case 'win32':
      return join(environment['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local'), 'Lodge');
    case 'darwin':
      return join(home, 'Library', 'Application Support', 'Lodge');
    default: {
      // The XDG base directory specification: a relative path there is invalid and to be ignored.
      const xdg = environment['XDG_DATA_HOME'];
      return join(xdg?.startsWith('/') ? xdg : join(home, '.local', 'share'), 'lodge');
    }
  }
}
