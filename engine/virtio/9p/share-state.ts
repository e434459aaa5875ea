import type { SavedFid, ShareState } from '../../backends/share/share-backend.ts';
import { isPlainName, MAX_DEPTH, MAX_FIDS, MAX_MESSAGE_BYTES, NODE_KINDS } from '../../backends/share/share-backend.ts';
import type { StateReader } from '../../devices/state.ts';

/** Checks the saved session of a share. Throws HostError('bad-state'). */
export function readShareState(reader: StateReader): ShareState {
  const messageBytes = reader.int('messageBytes', 0, MAX_MESSAGE_BYTES);
  const seen = new Set<number>();
  const fids = reader.objects('fids', undefined, MAX_FIDS).map((item): SavedFid => {
    const fid = item.u32('fid');
    if (seen.has(fid)) {
      item.refuse(`fid ${fid} is there twice`);
    }
    seen.add(fid);
    const path = item
      .array('path', undefined, MAX_DEPTH)
      .map((name) =>
        typeof name === 'string' && isPlainName(name) ? name : item.refuse('a path with a name that no file has'),
      );
    return {
      fid,
      path,
      inode: item.u64('inode'),
      kind: item.oneOf('kind', NODE_KINDS),
      flags: item.value('flags') === null ? null : item.u32('flags'),
      removed: item.boolean('removed'),
    };
  });
  return { messageBytes, fids };
}
