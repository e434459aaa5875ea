import { fileURLToPath } from 'node:url';

/** The project's root folder, without a trailing separator. */
export const projectRoot = fileURLToPath(new URL('..', import.meta.url)).replace(/[\\/]$/, '');

/** Where everything fetched or made stands; safe to delete at any time. */
export const cacheFolder = `${projectRoot}/.cache`;
