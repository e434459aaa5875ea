import { defined } from '../../../base/assert.ts';

/** The order and nesting in which the nodes of a flow graph are written as structured code. Node 0 is the entry. */
export interface Structure {
  /** Place of each node in reverse postorder; −1 for nodes that are not reached. */
  readonly place: readonly number[];
  /** Nodes that branches go back to. */
  readonly isLoop: readonly boolean[];
  /** Nodes that more than one forward edge leads to: they get a block to leave. */
  readonly isMerge: readonly boolean[];
  /** Merge nodes whose immediate dominator is the node, the last in order first. */
  readonly mergesBelow: readonly (readonly number[])[];
  /** Edges that structured code cannot express (they enter a loop beside its head), as `from * count + to`. */
  readonly dropped: ReadonlySet<number>;
}

interface Order {
  readonly nodes: readonly number[];
  readonly place: readonly number[];
}

function reversePostorder(successors: readonly (readonly number[])[], dropped: ReadonlySet<number>): Order {
  const count = successors.length;
  const seen = new Array<boolean>(count).fill(false);
  const nodes: number[] = [];
  // An explicit stack: (node, next successor).
  const stack: { node: number; next: number }[] = [{ node: 0, next: 0 }];
  seen[0] = true;
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const list = defined(successors[top.node], 'successors');
    const to = list[top.next++];
    if (to === undefined) {
      nodes.push(top.node);
      stack.pop();
    } else if (!seen[to] && !dropped.has(top.node * count + to)) {
      seen[to] = true;
      stack.push({ node: to, next: 0 });
    }
  }
  nodes.reverse();
  const place = new Array<number>(count).fill(-1);
  for (const [i, node] of nodes.entries()) {
    place[node] = i;
  }
  return { nodes, place };
}

/** Immediate dominators after Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm". */
function dominators(predecessors: readonly (readonly number[])[], { nodes, place }: Order): number[] {
  const idom = new Array<number>(predecessors.length).fill(-1);
  idom[0] = 0;
  const at = (node: number) => place[node] as number;
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of nodes) {
      if (node === 0) {
        continue;
      }
      let best = -1;
      for (const from of predecessors[node] as readonly number[]) {
        if (idom[from] === -1) {
          continue;
        }
        if (best === -1) {
          best = from;
          continue;
        }
        let other = from;
        while (other !== best) {
          while (at(other) > at(best)) {
            other = idom[other] as number;
          }
          while (at(best) > at(other)) {
            best = idom[best] as number;
          }
        }
      }
      if (idom[node] !== best) {
        idom[node] = best;
        changed = true;
      }
    }
  }
  return idom;
}

/**
 * Finds how to write a flow graph with blocks and loops (N. Ramsey, "Beyond Relooper", 2022). `successors` may name a
 * node several times. Edges that would enter a loop beside its head are dropped and reported.
 */
export function structure(successors: readonly (readonly number[])[]): Structure {
  const count = successors.length;
  const dropped = new Set<number>();
  for (;;) {
    const order = reversePostorder(successors, dropped);
    const { nodes, place } = order;
    const predecessors: number[][] = Array.from({ length: count }, () => []);
    for (const node of nodes) {
      for (const to of successors[node] as readonly number[]) {
        if (!dropped.has(node * count + to)) {
          (predecessors[to] as number[]).push(node);
        }
      }
    }
    const idom = dominators(predecessors, order);
    const dominates = (a: number, b: number) => {
      let node = b;
      while ((place[node] as number) > (place[a] as number)) {
        node = idom[node] as number;
      }
      return node === a;
    };
    const isLoop = new Array<boolean>(count).fill(false);
    const isMerge = new Array<boolean>(count).fill(false);
    let irreducible = false;
    for (const node of nodes) {
      let forward = 0;
      for (const from of predecessors[node] as readonly number[]) {
        if ((place[from] as number) < (place[node] as number)) {
          forward++;
        } else if (dominates(node, from)) {
          isLoop[node] = true;
        } else {
          dropped.add(from * count + node);
          irreducible = true;
        }
      }
      isMerge[node] = forward > 1;
    }
    if (irreducible) {
      continue;
    }
    const mergesBelow: number[][] = Array.from({ length: count }, () => []);
    for (let i = nodes.length - 1; i > 0; i--) {
      const node = nodes[i] as number;
      if (isMerge[node]) {
        (mergesBelow[idom[node] as number] as number[]).push(node);
      }
    }
    return { place, isLoop, isMerge, mergesBelow, dropped };
  }
}
