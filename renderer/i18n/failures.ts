import type { ErrorData } from '../../main/contract/errors.ts';
import { failureTextsOf, fillText } from '../../main/contract/failures.ts';
import type { Language } from './i18n.ts';

/** A failure as it is shown. */
export interface SaidFailure {
  readonly message: string;
  readonly remedy: string | undefined;
}

/**
 * Failures that the engine tells, in the languages other than its own, by code and `details.reason`. What is not here
 * is shown in English.
 */
const ENGINE_FAILURES: Readonly<Record<string, { readonly ko: string; readonly remedy?: string }>> = {
  'usage.file-missing': { ko: '{{path}}: 파일이 없습니다', remedy: '파일을 되돌려 놓거나 다른 파일을 선택하십시오' },
  'usage.file-kind': { ko: '{{path}}: 파일이 아닙니다', remedy: '다른 파일을 선택하십시오' },
  'usage.file-error': { ko: '{{path}}: 열 수 없습니다({{cause}})', remedy: '다른 파일을 선택하십시오' },
  'usage.file-empty': { ko: '{{path}}: 빈 파일입니다', remedy: '다른 파일을 선택하십시오' },
  'usage.file-not-readable': {
    ko: '{{path}}: 읽을 권한이 없습니다',
    remedy: '권한을 바꾸거나 다른 파일을 선택하십시오',
  },
  'usage.file-not-writable': {
    ko: '{{path}}: 쓸 권한이 없습니다',
    remedy: '읽기 전용으로 연결하거나 권한을 바꾸십시오',
  },
  'usage.image-size': {
    ko: '{{path}}: 크기 {{bytes}}바이트가 512의 배수가 아닙니다',
    remedy: '파일이 잘렸거나 원시 디스크 이미지가 아닙니다',
  },
  'usage.cdrom-size': {
    ko: '{{path}}: CD 이미지로는 너무 작습니다({{bytes}}바이트)',
    remedy: 'ISO 이미지를 선택하십시오',
  },
  'usage.folder-kind': { ko: '{{path}}: 폴더가 아닙니다', remedy: '다른 폴더를 선택하십시오' },
  'usage.floppy-size': {
    ko: '{{path}}: 플로피 디스크로는 너무 큽니다({{bytes}}바이트)',
    remedy: '플로피 이미지는 최대 {{maximum}}바이트입니다',
  },
  'usage.image-shared': {
    ko: '{{path}}: 같은 이미지가 이미 연결되어 있습니다',
    remedy: '한 번만 연결하거나 모두 읽기 전용으로 연결하십시오',
  },
  'usage.file-used': {
    ko: '{{path}}: 가상 머신이 사용하는 파일이라 덮어쓸 수 없습니다',
    remedy: '다른 경로를 지정하십시오',
  },
  'usage.output-not-writable': { ko: '{{path}}: 쓸 권한이 없습니다', remedy: '다른 경로를 지정하십시오' },
  'usage.no-folder': {
    ko: '{{path}}: 파일을 넣을 폴더가 없습니다',
    remedy: '폴더를 만들거나 다른 경로를 지정하십시오',
  },
  'usage.folder-missing': { ko: '{{path}}: 폴더가 없습니다', remedy: '다른 폴더를 선택하십시오' },
  'accelerator-fixed': {
    ko: 'KVM 없이 시작한 가상 머신은 KVM으로 옮길 수 없습니다',
    remedy: '전원을 끄고 가속기를 KVM으로 설정한 뒤 다시 시작하십시오',
  },
  'port-in-use': {
    ko: '{{address}}의 {{protocol}} 포트 {{port}}: 다른 프로그램이 사용 중입니다',
    remedy: '다른 호스트 포트를 지정하거나 그 프로그램을 끝내십시오',
  },
  'port-forbidden': {
    ko: '{{address}}의 {{protocol}} 포트 {{port}}: 사용할 권한이 없습니다',
    remedy: '1024 이상의 호스트 포트를 지정하십시오',
  },
  'no-such-address': {
    ko: '{{address}}의 {{protocol}} 포트 {{port}}: 호스트에 없는 주소입니다',
    remedy: '127.0.0.1처럼 이 호스트의 주소를 지정하십시오',
  },
  'port-failed': {
    ko: '{{address}}의 {{protocol}} 포트 {{port}}: 사용할 수 없습니다({{cause}})',
    remedy: '다른 호스트 포트를 지정하십시오',
  },
  'image-in-use': {
    ko: '{{path}}: 다른 가상 머신이 사용 중인 이미지입니다',
    remedy: '먼저 그 가상 머신을 끄거나 이미지를 읽기 전용으로 연결하십시오',
  },
  'image-not-writable': {
    ko: '{{path}}: 쓸 수 없는 이미지입니다',
    remedy: '읽기 전용으로 연결하거나 권한을 바꾸십시오',
  },
  'no-firmware': {
    ko: '펌웨어({{file}})가 설치되어 있지 않습니다',
    remedy: 'SeaBIOS(Debian 패키지 seabios) 또는 QEMU를 설치하십시오',
  },
  'no-scsi': {
    ko: '가상 머신에 SCSI 컨트롤러가 없습니다',
    remedy: '전원을 끄고 SCSI 버스에 디스크나 CD-ROM 드라이브를 추가하십시오',
  },
  'scsi-full': { ko: 'SCSI 컨트롤러에 빈자리가 없습니다', remedy: '먼저 디스크를 하나 분리하십시오' },
  'no-scsi-disk': {
    ko: '{{target}}번 자리에 SCSI 디스크가 없습니다',
    remedy: '디스크를 연결할 때 받은 번호를 지정하십시오',
  },
  'no-drive': { ko: '가상 머신에 CD-ROM 드라이브가 없습니다', remedy: '전원을 끄고 설정에서 추가하십시오' },
};

/** The texts of a failure in another language, if there are such. */
function textsOf(failure: ErrorData, language: Exclude<Language, 'en'>): SaidFailure | undefined {
  const texts = failureTextsOf(failure);
  if (texts !== undefined) {
    return { message: texts.message[language], remedy: texts.remedy?.[language] };
  }
  const reason = failure.details?.['reason'];
  const name = typeof reason === 'string' ? `${failure.code}.${reason}` : failure.code;
  const told = Object.hasOwn(ENGINE_FAILURES, name) ? ENGINE_FAILURES[name] : undefined;
  return told === undefined ? undefined : { message: told[language], remedy: told.remedy };
}

/** What happened and what to do about it, in the language of the user interface. */
export function sayFailure(failure: ErrorData, language: Language): SaidFailure {
  const { message, remedy, details = {} } = failure;
  const texts = language === 'en' ? undefined : textsOf(failure, language);
  // Without its values a text says less than English does.
  if (texts === undefined || !valueNames(texts.message).every((name) => name in details)) {
    return { message, remedy };
  }
  return {
    message: fillText(texts.message, details, language),
    remedy: texts.remedy === undefined ? undefined : fillText(texts.remedy, details, language),
  };
}

function valueNames(text: string): string[] {
  return [...text.matchAll(/\{\{(\w+)\}\}/g)].map(([, name]) => name ?? '');
}
