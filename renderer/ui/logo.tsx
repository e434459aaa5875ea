/** Lodge's sign: a house around a terminal. Decoration: its name stands beside it. */
export function Logo({ size = 24 }: { size?: number }) {
  return (
    <svg className="logo" viewBox="0 0 64 64" width={size} height={size} aria-hidden="true">
      <rect x="4" y="4" width="56" height="56" rx="14" fill="#3454d1" />
      <path
        d="M12 33 32 16l20 17"
        fill="none"
        stroke="#fff"
        strokeWidth="5"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
      <rect x="19" y="32" width="26" height="17" rx="3" fill="#fff" />
      <path
        d="m25 37 4 3.5-4 3.5M32 44.5h6"
        fill="none"
        stroke="#3454d1"
        strokeWidth="2.4"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}
