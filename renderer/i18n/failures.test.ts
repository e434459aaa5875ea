import { expect, test } from 'vitest';
import { failureData, failureTexts } from '../../main/contract/failures.ts';
import { sayFailure } from './failures.ts';

test('a failure of the services is said in the language of the user interface, with its values', () => {
  const missing = failureData('image-missing', { path: '/x/a.iso' });
  expect(sayFailure(missing, 'en')).toEqual({
    message: '/x/a.iso: there is no such file',
    remedy: 'choose an ISO, hard disk or floppy image',
  });
  expect(sayFailure(missing, 'ko')).toEqual({
    message: '/x/a.iso: 파일이 없습니다',
    remedy: 'ISO, 하드 디스크 또는 플로피 이미지를 선택하십시오',
  });
});

test('failures of one code are told apart, and why a system call failed is translated', () => {
  const full = failureData('write-failed.folder', { path: '/x', cause: 'ENOSPC' });
  expect(full).toMatchObject({ code: 'write-failed', message: '/x: the folder cannot be made (the disk is full)' });
  expect(sayFailure(full, 'ko').message).toBe('/x: 폴더를 만들 수 없습니다(디스크가 가득 찼습니다)');
  expect(sayFailure(failureData('write-failed', { path: '/x', cause: 'EWHAT' }), 'ko').message).toBe(
    '/x: 기록할 수 없습니다(EWHAT)',
  );
});

test('failures of the engine are said by their code and reason; what is not known stays in English', () => {
  const gone = {
    code: 'usage',
    message: 'hard disk /x.img: there is no such file',
    remedy: 'give the path of an image',
    details: { reason: 'file-missing', path: '/x.img' },
  };
  expect(sayFailure(gone, 'ko').message).toBe('/x.img: 파일이 없습니다');
  const occupied = {
    code: 'port-in-use',
    message: 'TCP port 80 of 127.0.0.1: another program listens there already',
    details: { protocol: 'TCP', address: '127.0.0.1', port: 80, cause: 'EADDRINUSE' },
  };
  expect(sayFailure(occupied, 'ko').message).toBe('127.0.0.1의 TCP 포트 80: 다른 프로그램이 사용 중입니다');
  const strange = { code: 'strange', message: 'something new', remedy: 'look at it' };
  expect(sayFailure(strange, 'ko')).toEqual({ message: 'something new', remedy: 'look at it' });
});

test('a text is not used without its values', () => {
  const bare = { code: 'image-in-use', message: '/x.img: the image is in use', remedy: 'shut it down' };
  expect(sayFailure(bare, 'ko')).toEqual({ message: '/x.img: the image is in use', remedy: 'shut it down' });
});

test('values of other kinds and names of other objects are not taken', () => {
  const odd = { code: 'toString', message: 'odd', details: { reason: ['a'] } };
  expect(sayFailure(odd, 'ko').message).toBe('odd');
});

const names = (text: string) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map(([, name]) => name ?? '').sort();

test('a translation has no value that English lacks', () => {
  interface Texts {
    readonly message: Record<'en' | 'ko', string>;
    readonly remedy?: Record<'en' | 'ko', string>;
  }
  for (const [name, { message, remedy }] of Object.entries<Texts>(failureTexts)) {
    for (const { en, ko } of remedy === undefined ? [message] : [message, remedy]) {
      expect(names(en), name).toEqual(expect.arrayContaining(names(ko)));
      expect(ko, name).toMatch(/[가-힣]|^\{\{path\}\}: \{\{cause\}\}$/);
    }
  }
});
