import type { ButtonHTMLAttributes, ReactNode, Ref } from 'react';

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  readonly look?: 'plain' | 'primary' | 'danger' | 'quiet';
  readonly icon?: ReactNode;
  readonly ref?: Ref<HTMLButtonElement>;
}

export function Button({ look = 'plain', icon, className, children, ...rest }: ButtonProps) {
  const onlyIcon = children === undefined && icon !== undefined;
  const classes = ['button', `button--${look}`, onlyIcon ? 'button--icon' : '', className ?? ''].filter(Boolean);
  return (
    <button type="button" {...rest} className={classes.join(' ')}>
      {icon}
      {children}
    </button>
  );
}
