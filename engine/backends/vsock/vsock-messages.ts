/** From the machine thread to the thread with the sockets. Connections are known by numbers: even ones the guest asked for. */
export type ToSockets =
  | { readonly kind: 'connect'; readonly id: number; readonly port: number }
  | { readonly kind: 'accept'; readonly id: number; readonly hostPort: number }
  | { readonly kind: 'write'; readonly id: number; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'end' | 'destroy'; readonly id: number }
  | { readonly kind: 'taken'; readonly id: number; readonly count: number };

/** And back: what VsockPeer is told. */
export type FromSockets =
  | { readonly kind: 'incoming'; readonly id: number; readonly port: number }
  | { readonly kind: 'opened' | 'ended'; readonly id: number }
  | { readonly kind: 'data'; readonly id: number; readonly bytes: Uint8Array }
  | { readonly kind: 'written'; readonly id: number; readonly count: number }
  | { readonly kind: 'closed'; readonly id: number; readonly broken: boolean };
