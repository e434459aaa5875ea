import { ApiError, type ErrorData } from './errors.ts';

/** A text in the languages of the user interface; `{{name}}` stands for a value. */
export interface FailureText {
  readonly en: string;
  readonly ko: string;
}

interface FailureTexts {
  /** One line that names the thing and its value. */
  readonly message: FailureText;
  /** What to do about it. */
  readonly remedy?: FailureText;
}

const REPAIR: FailureText = {
  en: 'repair the file or restore it from a backup; it is left as it is',
  ko: '파일을 고치거나 백업에서 되돌리십시오. 파일은 그대로 두었습니다',
};
const CHOOSE_IMAGE: FailureText = {
  en: 'choose an ISO, hard disk or floppy image',
  ko: 'ISO, 하드 디스크 또는 플로피 이미지를 선택하십시오',
};
const CHOOSE_FOLDER: FailureText = { en: 'choose another folder', ko: '다른 폴더를 선택하십시오' };
const SWITCH_OFF: FailureText = { en: 'switch it off first', ko: '먼저 전원을 끄십시오' };
const SAME_VERSION: FailureText = {
  en: 'reload the page: the service may be of another version',
  ko: '페이지를 새로 고치십시오. 서비스의 버전이 다를 수 있습니다',
};
const LOG_TELLS: FailureText = {
  en: 'its log tells more; what the guest had not yet written to its disk is lost',
  ko: '자세한 내용은 로그에 있습니다. 게스트가 디스크에 기록하지 않은 내용은 사라집니다',
};

/**
 * Every failure that the services tell, by its code; what follows a point tells apart failures of one code and crosses
 * as `details.reason`. English goes with the failure, for commands and logs; user interfaces say it in their language.
 */
export const failureTexts = {
  'bad-arguments': {
    message: { en: '{{call}}: the arguments are not understood', ko: '요청을 이해할 수 없습니다({{call}})' },
  },
  'bad-arguments.field': {
    message: { en: '{{call}}: {{where}}{{problem}}', ko: '값이 올바르지 않습니다({{where}}{{problem}})' },
  },
  'bad-result': {
    message: {
      en: "{{call}}: the service's answer is not understood",
      ko: '서비스의 응답을 이해할 수 없습니다({{call}})',
    },
    remedy: SAME_VERSION,
  },
  disconnected: {
    message: { en: '{{cause}}', ko: 'Lodge와의 연결이 끊어졌습니다' },
    remedy: { en: 'connect again', ko: '다시 연결하십시오' },
  },
  'unknown-name': {
    message: {
      en: 'there is no {{name}} in the API of this version',
      ko: '이 버전의 API에는 {{name}}이(가) 없습니다',
    },
    remedy: { en: 'use a client of the same version', ko: '같은 버전의 클라이언트를 사용하십시오' },
  },
  'too-many': {
    message: { en: 'too many {{what}} at once', ko: '동시에 처리할 수 있는 요청 수를 넘었습니다({{what}})' },
    remedy: { en: 'wait for some to end', ko: '일부가 끝날 때까지 기다리십시오' },
  },
  internal: { message: { en: 'internal error: {{problem}}', ko: '내부 오류: {{problem}}' } },

  'owned-elsewhere': {
    message: {
      en: '{{folder}} is in use by {{owner}} (process {{pid}})',
      ko: '{{folder}}: {{owner}}(프로세스 {{pid}})에서 사용 중입니다',
    },
    remedy: {
      en: 'use that one, or end it first; another folder can be named with LODGE_HOME',
      ko: '그쪽을 사용하거나 먼저 끝내십시오. LODGE_HOME으로 다른 폴더를 지정할 수 있습니다',
    },
  },
  'data-folder': {
    message: { en: '{{folder}}: cannot be used ({{cause}})', ko: '{{folder}}: 사용할 수 없습니다({{cause}})' },
    remedy: {
      en: 'change its permissions, or name another folder with LODGE_HOME',
      ko: '권한을 바꾸거나 LODGE_HOME으로 다른 폴더를 지정하십시오',
    },
  },
  'cannot-listen': {
    message: { en: '{{path}}: cannot listen there ({{cause}})', ko: '{{path}}: 접속을 받을 수 없습니다({{cause}})' },
  },
  'cannot-listen.port': {
    message: { en: '{{path}}: cannot listen there ({{cause}})', ko: '{{path}}: 접속을 받을 수 없습니다({{cause}})' },
    remedy: {
      en: 'give another --port; 0 takes any free one',
      ko: '다른 --port를 지정하십시오. 0은 빈 포트를 고릅니다',
    },
  },
  'cannot-connect': {
    message: { en: '{{path}}: nobody answers ({{cause}})', ko: '{{path}}: 응답이 없습니다({{cause}})' },
  },

  'not-found': {
    message: { en: 'there is no machine {{id}}', ko: '{{id}} 가상 머신이 없습니다' },
    remedy: { en: 'look at the list again', ko: '목록을 다시 확인하십시오' },
  },
  inaccessible: { message: { en: '{{id}} cannot be used', ko: '{{id}}: 사용할 수 없습니다' } },
  'unknown-guest-system': {
    message: { en: '{{id}}: is not a known guest system', ko: '{{id}}: 알 수 없는 게스트 운영 체제입니다' },
  },
  'name-taken': {
    message: { en: '{{name}}: a machine has this name already', ko: '{{name}}: 같은 이름의 가상 머신이 이미 있습니다' },
    remedy: { en: 'choose another name', ko: '다른 이름을 선택하십시오' },
  },
  'relative-path': {
    message: { en: '{{path}}: is not a whole path', ko: '{{path}}: 전체 경로가 아닙니다' },
    remedy: { en: 'give a path that begins with {{start}}', ko: '{{start}} 기호로 시작하는 경로를 입력하십시오' },
  },
  unreadable: { message: { en: '{{path}}: {{cause}}', ko: '{{path}}: {{cause}}' } },
  'no-machine': {
    message: { en: '{{path}}: holds no machine', ko: '{{path}}: 가상 머신이 없는 폴더입니다' },
    remedy: { en: 'choose a folder with a {{file}}', ko: '{{file}} 파일이 있는 폴더를 선택하십시오' },
  },

  'machine-file-unreadable': {
    message: { en: '{{path}}: {{cause}}', ko: '{{path}}: {{cause}}' },
    remedy: {
      en: 'bring the folder back, or take the machine off the list',
      ko: '폴더를 되돌려 놓거나 가상 머신을 목록에서 제거하십시오',
    },
  },
  'machine-file-damaged.size': {
    message: {
      en: '{{path}}: is too large to be the description of a machine',
      ko: '{{path}}: 가상 머신 설명 파일로는 너무 큽니다',
    },
    remedy: REPAIR,
  },
  'machine-file-damaged.json': {
    message: { en: '{{path}}: is not valid JSON ({{problem}})', ko: '{{path}}: 올바른 JSON이 아닙니다({{problem}})' },
    remedy: REPAIR,
  },
  'machine-file-damaged.header': {
    message: {
      en: '{{path}}: is not the description of a machine (no schemaVersion)',
      ko: '{{path}}: 가상 머신 설명 파일이 아닙니다(schemaVersion 없음)',
    },
    remedy: REPAIR,
  },
  'machine-file-damaged.setting': {
    message: {
      en: '{{path}}: {{where}}{{problem}}',
      ko: '{{path}}: 올바르지 않은 설정이 있습니다({{where}}{{problem}})',
    },
    remedy: REPAIR,
  },
  'machine-file-damaged.unknown': {
    message: {
      en: "{{path}}: there is no setting '{{name}}' in this version of Lodge",
      ko: '{{path}}: 이 버전의 Lodge에는 {{name}} 설정이 없습니다',
    },
    remedy: {
      en: 'correct or remove it, or use the version of Lodge that wrote the file; the file is left as it is',
      ko: '설정을 고치거나 지우거나, 파일을 만든 버전의 Lodge를 사용하십시오. 파일은 그대로 두었습니다',
    },
  },
  'machine-file-newer': {
    message: {
      en: '{{path}}: was written by a newer Lodge (schema version {{version}}, this one reads up to {{known}})',
      ko: '{{path}}: 더 새로운 버전의 Lodge에서 만든 파일입니다(스키마 버전 {{version}}, 이 버전은 {{known}}까지 읽음)',
    },
    remedy: {
      en: 'use that version of Lodge; the file is left as it is',
      ko: '해당 버전의 Lodge를 사용하십시오. 파일은 그대로 두었습니다',
    },
  },

  'write-failed': {
    message: { en: '{{path}}: cannot be written ({{cause}})', ko: '{{path}}: 기록할 수 없습니다({{cause}})' },
  },
  'write-failed.settings': {
    message: { en: '{{path}}: cannot be written ({{cause}})', ko: '{{path}}: 기록할 수 없습니다({{cause}})' },
    remedy: {
      en: 'make room or change the permissions; nothing was changed',
      ko: '공간을 확보하거나 권한을 바꾸십시오. 바뀐 것은 없습니다',
    },
  },
  'write-failed.folder': {
    message: {
      en: '{{path}}: the folder cannot be made ({{cause}})',
      ko: '{{path}}: 폴더를 만들 수 없습니다({{cause}})',
    },
    remedy: CHOOSE_FOLDER,
  },
  'write-failed.disk': {
    message: {
      en: '{{path}}: the disk image cannot be made ({{cause}})',
      ko: '{{path}}: 디스크 이미지를 만들 수 없습니다({{cause}})',
    },
    remedy: CHOOSE_FOLDER,
  },
  'write-failed.size': {
    message: {
      en: '{{path}}: cannot have {{gigabytes}} GB ({{cause}})',
      ko: '{{path}}: {{gigabytes}} GB로 만들 수 없습니다({{cause}})',
    },
  },
  exists: {
    message: {
      en: '{{path}}: the disk image cannot be made (it exists already)',
      ko: '{{path}}: 디스크 이미지를 만들 수 없습니다(이미 있습니다)',
    },
    remedy: {
      en: 'choose another name; existing files are never overwritten',
      ko: '다른 이름을 선택하십시오. 기존 파일은 덮어쓰지 않습니다',
    },
  },
  'delete-failed': {
    message: {
      en: '{{path}}: not everything can be deleted ({{cause}})',
      ko: '{{path}}: 일부 파일을 삭제할 수 없습니다({{cause}})',
    },
  },
  'log-unreadable': {
    message: { en: '{{path}}: the log cannot be read ({{cause}})', ko: '{{path}}: 로그를 읽을 수 없습니다({{cause}})' },
  },

  'image-missing': {
    message: { en: '{{path}}: there is no such file', ko: '{{path}}: 파일이 없습니다' },
    remedy: CHOOSE_IMAGE,
  },
  'image-directory': {
    message: { en: '{{path}}: is a folder, not an image', ko: '{{path}}: 이미지가 아니라 폴더입니다' },
    remedy: CHOOSE_IMAGE,
  },
  'image-unreadable': {
    message: { en: '{{path}}: {{cause}}', ko: '{{path}}: {{cause}}' },
    remedy: CHOOSE_IMAGE,
  },
  'image-unreadable.kind': {
    message: { en: '{{path}}: is neither a file nor a disk', ko: '{{path}}: 파일도 디스크도 아닙니다' },
    remedy: CHOOSE_IMAGE,
  },
  'image-empty': {
    message: { en: '{{path}}: the file is empty', ko: '{{path}}: 빈 파일입니다' },
    remedy: CHOOSE_IMAGE,
  },
  'image-size': {
    message: {
      en: '{{path}}: is no disk image (its size of {{bytes}} bytes is not a multiple of 512)',
      ko: '{{path}}: 디스크 이미지가 아닙니다(크기 {{bytes}}바이트가 512의 배수가 아님)',
    },
    remedy: CHOOSE_IMAGE,
  },
  'image-format': {
    message: {
      en: '{{path}}: is a disk image in the format {{format}}, which Lodge does not read yet',
      ko: '{{path}}: Lodge가 아직 읽지 못하는 {{format}} 형식의 디스크 이미지입니다',
    },
    remedy: {
      en: 'convert it: qemu-img convert -O raw "{{file}}" disk.img',
      ko: '변환하십시오: qemu-img convert -O raw "{{file}}" disk.img',
    },
  },

  'wrong-state.running': {
    message: { en: '{{name}}: it is running already', ko: '{{name}}: 이미 실행 중입니다' },
    remedy: { en: 'look at its window', ko: '창을 확인하십시오' },
  },
  'wrong-state.not-running': {
    message: { en: '{{name}}: it is not running', ko: '{{name}}: 실행 중이 아닙니다' },
    remedy: { en: 'start it first', ko: '먼저 시작하십시오' },
  },
  'wrong-state.paused': {
    message: { en: '{{name}}: it is paused', ko: '{{name}}: 일시 정지되어 있습니다' },
    remedy: {
      en: 'resume it first: a paused guest does not see the power button',
      ko: '먼저 계속 실행하십시오. 일시 정지된 게스트는 전원 단추를 알아채지 못합니다',
    },
  },
  'wrong-state.pause': {
    message: { en: '{{name}}: it is {{state}}', ko: '{{name}}: 지금은 일시 정지할 수 없습니다' },
    remedy: { en: 'only a running machine can be paused', ko: '실행 중인 가상 머신만 일시 정지할 수 있습니다' },
  },
  'wrong-state.resume': {
    message: { en: '{{name}}: it is {{state}}', ko: '{{name}}: 지금은 계속 실행할 수 없습니다' },
    remedy: { en: 'only a paused machine can be resumed', ko: '일시 정지된 가상 머신만 계속 실행할 수 있습니다' },
  },
  'wrong-state.settings': {
    message: {
      en: '{{name}}: {{settings}} cannot be changed while it runs',
      ko: '{{name}}: 실행 중에는 바꿀 수 없는 설정입니다({{settings}})',
    },
    remedy: SWITCH_OFF,
  },
  'no-network': {
    message: { en: '{{name}}: the machine has no network', ko: '{{name}}: 가상 머신에 네트워크가 없습니다' },
    remedy: { en: 'switch it off and give it one in its settings', ko: '전원을 끄고 설정에서 추가하십시오' },
  },
  'no-balloon': {
    message: { en: '{{name}}: the machine has no memory balloon', ko: '{{name}}: 가상 머신에 메모리 벌룬이 없습니다' },
    remedy: { en: 'switch it off and give it one in its settings', ko: '전원을 끄고 설정에서 추가하십시오' },
  },
  'balloon-size': {
    message: {
      en: '{{name}}: {{megabytes}} MB are more than the {{memory}} MB that it has',
      ko: '{{name}}: {{megabytes}} MB는 가상 머신의 메모리 {{memory}} MB보다 큽니다',
    },
    remedy: {
      en: 'give {{minimum}} to {{memory}} megabytes',
      ko: '{{minimum}}MB부터 {{memory}}MB까지 지정할 수 있습니다',
    },
  },
  'bus-full': {
    message: {
      en: '{{name}}: there is no room for another drive on the bus {{bus}}',
      ko: '{{name}}: {{bus}} 버스에 드라이브를 더 연결할 수 없습니다',
    },
    remedy: { en: 'attach it to another bus', ko: '다른 버스에 연결하십시오' },
  },
  'no-such-disk': {
    message: {
      en: '{{name}}: {{path}} is none of its hard disks',
      ko: '{{name}}: {{path}}은(는) 이 가상 머신의 하드 디스크가 아닙니다',
    },
    remedy: { en: 'lodge show names them', ko: 'lodge show에서 확인할 수 있습니다' },
  },
  'no-such-share': {
    message: {
      en: "{{name}}: there is no share '{{share}}'",
      ko: '{{name}}: {{share}} 공유 폴더가 없습니다',
    },
    remedy: { en: 'lodge share names them', ko: 'lodge share에서 확인할 수 있습니다' },
  },
  'no-such-forward': {
    message: {
      en: '{{name}}: {{protocol}} port {{port}} of {{address}} is not forwarded',
      ko: '{{name}}: {{address}}의 {{protocol}} 포트 {{port}}은(는) 전달되고 있지 않습니다',
    },
    remedy: { en: 'look at the list of its forwarded ports', ko: '전달된 포트 목록을 확인하십시오' },
  },
  'port-forwarded': {
    message: {
      en: '{{protocol}} port {{port}} is forwarded already',
      ko: '{{protocol}} 포트 {{port}}은(는) 이미 전달되고 있습니다',
    },
    remedy: {
      en: 'remove that forward first, or give another port',
      ko: '먼저 그 전달을 제거하거나 다른 포트를 지정하십시오',
    },
  },
  'any-port': {
    message: {
      en: '{{name}}: a free port can be chosen only while it runs',
      ko: '{{name}}: 빈 포트를 고르는 것은 실행 중에만 할 수 있습니다',
    },
    remedy: { en: 'give a host port from 1 to 65535', ko: '1부터 65535까지의 호스트 포트를 지정하십시오' },
  },
  'medium-locked': {
    message: {
      en: '{{name}}: the guest has locked the drive and was asked to release it',
      ko: '{{name}}: 게스트가 드라이브를 잠그고 있어 해제를 요청했습니다',
    },
    remedy: { en: 'try again, or eject it by force', ko: '다시 시도하거나 강제로 꺼내십시오' },
  },
  'disk-trouble': {
    message: { en: '{{path}}: cannot be written ({{problem}})', ko: '{{path}}: 기록할 수 없습니다({{problem}})' },
    remedy: {
      en: 'see that it can be written again; the machine then goes on by itself',
      ko: '다시 기록할 수 있게 하십시오. 그러면 가상 머신이 자동으로 계속됩니다',
    },
  },
  'disk-trouble.read-only': {
    message: {
      en: '{{path}}: cannot be written any more (no permission, or its file system is read-only)',
      ko: '{{path}}: 더 이상 기록할 수 없습니다(권한이 없거나 읽기 전용 파일 시스템)',
    },
    remedy: {
      en: 'see that it can be written again; the machine then goes on by itself',
      ko: '다시 기록할 수 있게 하십시오. 그러면 가상 머신이 자동으로 계속됩니다',
    },
  },
  'disk-trouble.no-space': {
    message: {
      en: '{{path}}: cannot be written because the host has no space left',
      ko: '{{path}}: 호스트에 남은 공간이 없어 기록할 수 없습니다',
    },
    remedy: {
      en: 'free some space; the machine then goes on by itself',
      ko: '공간을 확보하십시오. 그러면 가상 머신이 자동으로 계속됩니다',
    },
  },
  'wrong-state.remove': {
    message: { en: '{{name}}: it cannot be removed while it runs', ko: '{{name}}: 실행 중에는 제거할 수 없습니다' },
    remedy: SWITCH_OFF,
  },
  'not-supported.tablet': {
    message: {
      en: 'the machine has a mouse, not a tablet: only relative movements mean something to it',
      ko: '이 가상 머신에는 태블릿이 아니라 마우스가 있어 상대 이동만 쓸 수 있습니다',
    },
  },
  'no-drive.cdrom': {
    message: { en: '{{name}}: the machine has no CD-ROM drive', ko: '{{name}}: CD-ROM 드라이브가 없습니다' },
    remedy: { en: 'switch it off and add one in its settings', ko: '전원을 끄고 설정에서 추가하십시오' },
  },
  'no-drive.floppy': {
    message: { en: '{{name}}: the machine has no floppy drive', ko: '{{name}}: 플로피 드라이브가 없습니다' },
    remedy: { en: 'switch it off and add one in its settings', ko: '전원을 끄고 설정에서 추가하십시오' },
  },

  'start-failed': {
    message: {
      en: '{{name}}: its process cannot be started ({{cause}})',
      ko: '{{name}}: 프로세스를 시작할 수 없습니다({{cause}})',
    },
  },
  'not-running': { message: { en: 'the machine is not running', ko: '가상 머신이 실행 중이 아닙니다' } },
  'bad-message': {
    message: {
      en: "the machine's process said something that is not understood",
      ko: '가상 머신의 프로세스가 이해할 수 없는 메시지를 보냈습니다',
    },
  },
  'guest-crashed': {
    message: { en: 'the guest crashed', ko: '게스트가 멈췄습니다' },
    remedy: {
      en: 'start it again; if it happens every time, its installation or its boot medium is damaged',
      ko: '다시 시작하십시오. 매번 일어나면 설치된 시스템이나 부팅 미디어가 손상된 것입니다',
    },
  },
  'guest-crashed.detail': {
    message: { en: 'the guest crashed: {{problem}}', ko: '게스트가 멈췄습니다({{problem}})' },
    remedy: {
      en: 'start it again; if it happens every time, its installation or its boot medium is damaged',
      ko: '다시 시작하십시오. 매번 일어나면 설치된 시스템이나 부팅 미디어가 손상된 것입니다',
    },
  },
  'process-died.killed': {
    message: {
      en: "the machine's process was ended from outside (SIGKILL; when memory runs out, the system does that)",
      ko: '가상 머신의 프로세스가 외부에서 강제 종료되었습니다(SIGKILL, 메모리가 모자라면 시스템이 종료하기도 합니다)',
    },
    remedy: LOG_TELLS,
  },
  'process-died.signal': {
    message: {
      en: "the machine's process was ended by {{signal}}",
      ko: '가상 머신의 프로세스가 {{signal}} 신호로 종료되었습니다',
    },
    remedy: LOG_TELLS,
  },
  'process-died.start': {
    message: {
      en: "the machine's process could not be started",
      ko: '가상 머신의 프로세스를 시작할 수 없었습니다',
    },
    remedy: LOG_TELLS,
  },
  'process-died.code': {
    message: {
      en: "the machine's process ended unexpectedly (exit code {{exitCode}})",
      ko: '가상 머신의 프로세스가 예기치 않게 끝났습니다(종료 코드 {{exitCode}})',
    },
    remedy: LOG_TELLS,
  },
  'lodge-ended': {
    message: {
      en: 'Lodge ended while the machine was running',
      ko: '가상 머신이 실행되는 동안 Lodge가 종료되었습니다',
    },
    remedy: {
      en: 'start it again; what the guest had not yet written to its disk is lost',
      ko: '다시 시작하십시오. 게스트가 디스크에 기록하지 않은 내용은 사라집니다',
    },
  },
} as const satisfies Record<string, FailureTexts>;

export type FailureName = keyof typeof failureTexts;

/** Why system calls fail, by their code. A failure's detail `cause` is one of these, or a text that is shown as it is. */
export const causeTexts: Readonly<Record<string, FailureText>> = {
  ENOENT: { en: 'there is no such file or folder', ko: '파일이나 폴더가 없습니다' },
  ENOTDIR: { en: 'a part of the path is no folder', ko: '경로의 일부가 폴더가 아닙니다' },
  EACCES: { en: 'no permission', ko: '권한이 없습니다' },
  EPERM: { en: 'no permission', ko: '권한이 없습니다' },
  EROFS: { en: 'the file system is read-only', ko: '읽기 전용 파일 시스템입니다' },
  ENOSPC: { en: 'the disk is full', ko: '디스크가 가득 찼습니다' },
  EDQUOT: { en: 'the quota of disk space is used up', ko: '디스크 할당량을 모두 사용했습니다' },
  EISDIR: { en: 'it is a folder', ko: '폴더입니다' },
  EEXIST: { en: 'it exists already', ko: '이미 있습니다' },
  ENAMETOOLONG: { en: 'the name is too long', ko: '이름이 너무 깁니다' },
  ELOOP: { en: 'its symbolic links go in circles', ko: '심볼릭 링크가 순환합니다' },
  EFBIG: { en: 'the file system does not hold files of that size', ko: '파일 시스템이 이 크기의 파일을 담지 못합니다' },
  EADDRINUSE: { en: 'the port is in use', ko: '사용 중인 포트입니다' },
};

type Values = Readonly<Record<string, unknown>>;

/** A text with its values in place. A value that is missing leaves nothing. */
export function fillText(template: string, values: Values, language: keyof FailureText): string {
  return template.replace(/\{\{(\w+)\}\}/g, (_whole, name: string) => {
    const value = values[name];
    const text = typeof value === 'string' || typeof value === 'number' ? String(value) : '';
    return name === 'cause' && Object.hasOwn(causeTexts, text) ? (causeTexts[text]?.[language] ?? text) : text;
  });
}

/** A failure of the catalogue as it crosses to clients, with its English text. */
export function failureData(name: FailureName, values: Readonly<Record<string, string | number>> = {}): ErrorData {
  const [code = name, reason] = name.split('.');
  const { message, remedy }: FailureTexts = failureTexts[name];
  const details = { ...values, ...(reason === undefined ? {} : { reason }) };
  return {
    code,
    message: fillText(message.en, values, 'en'),
    ...(remedy === undefined ? {} : { remedy: fillText(remedy.en, values, 'en') }),
    ...(Object.keys(details).length === 0 ? {} : { details }),
  };
}

/** An error of the catalogue. A value `field` names the argument that is wrong. */
export function failure(
  name: FailureName,
  values?: Readonly<Record<string, string | number>>,
  options?: { readonly cause?: unknown },
): ApiError {
  return new ApiError(failureData(name, values), options);
}

/** What the catalogue says about a failure; undefined when it is not in it. */
export function failureTextsOf({ code, details }: Pick<ErrorData, 'code' | 'details'>): FailureTexts | undefined {
  const reason = details?.['reason'];
  const name = typeof reason === 'string' ? `${code}.${reason}` : code;
  return Object.hasOwn(failureTexts, name) ? failureTexts[name as FailureName] : undefined;
}
