import { test } from 'node:test';
import { linuxSession } from './linux-session.ts';

const SECONDS = 240;

test('the cloud kernel with 4 processors', (t) => linuxSession(t, 'cloud', 4, SECONDS));
test('the generic amd64 kernel with 1 processor', (t) => linuxSession(t, 'generic', 1, SECONDS));
test('the generic amd64 kernel with 4 processors', (t) => linuxSession(t, 'generic', 4, SECONDS));
test('the 686 kernel with 1 processor', (t) => linuxSession(t, 'i686', 1, SECONDS));
test('the 686 kernel with 4 processors', (t) => linuxSession(t, 'i686', 4, SECONDS));
