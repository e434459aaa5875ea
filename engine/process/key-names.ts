export { isKeyName } from '../devices/i8042/keys.ts';
