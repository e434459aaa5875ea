import { CircleAlert } from 'lucide-react';
import type { InputHTMLAttributes, ReactNode, Ref, SelectHTMLAttributes } from 'react';
import { useId } from 'react';

interface Labelled {
  readonly label: string;
  readonly hint?: ReactNode;
  readonly warning?: ReactNode;
  readonly error?: string | undefined;
}

/** The attributes that tie a control to its label, hint and error. */
export interface ControlIds {
  readonly id: string;
  readonly 'aria-describedby': string | undefined;
  readonly 'aria-invalid': boolean | undefined;
}

/** A label above a control, what is known about it below, and an error when its value will not do. */
export function Field(props: Labelled & { children: (ids: ControlIds) => ReactNode }) {
  const { label, hint, warning, error, children } = props;
  const id = useId();
  const notes = [
    error === undefined ? '' : `${id}-error`,
    warning === undefined ? '' : `${id}-warning`,
    hint === undefined ? '' : `${id}-hint`,
  ].filter(Boolean);
  return (
    <div className="field">
      <label className="field__label" htmlFor={id}>
        {label}
      </label>
      {children({
        id,
        'aria-describedby': notes.length === 0 ? undefined : notes.join(' '),
        'aria-invalid': error === undefined ? undefined : true,
      })}
      {error !== undefined && <FieldError id={`${id}-error`}>{error}</FieldError>}
      {warning !== undefined && (
        <p id={`${id}-warning`} className="field__hint field__hint--warning">
          {warning}
        </p>
      )}
      {hint !== undefined && (
        <p id={`${id}-hint`} className="field__hint">
          {hint}
        </p>
      )}
    </div>
  );
}

export function FieldError({ id, children }: { id: string; children: ReactNode }) {
  return (
    <p id={id} className="field__error" role="alert">
      <CircleAlert size={14} aria-hidden="true" />
      {children}
    </p>
  );
}

type TextFieldProps = Labelled &
  InputHTMLAttributes<HTMLInputElement> & { readonly ref?: Ref<HTMLInputElement>; readonly after?: ReactNode };

export function TextField({ label, hint, warning, error, after, className, ...input }: TextFieldProps) {
  return (
    <Field label={label} hint={hint} warning={warning} error={error}>
      {(ids) => (
        <div className="field__row">
          <input
            type="text"
            autoComplete="off"
            spellCheck={false}
            {...input}
            {...ids}
            className={`input ${input.type === 'number' ? 'input--number' : ''} ${className ?? ''}`.trim()}
          />
          {after}
        </div>
      )}
    </Field>
  );
}

/** A whole number. */
export function NumberField(props: Omit<TextFieldProps, 'type' | 'inputMode' | 'step'>) {
  return <TextField {...props} type="number" inputMode="numeric" step={1} />;
}

type SelectFieldProps = Labelled &
  SelectHTMLAttributes<HTMLSelectElement> & { readonly ref?: Ref<HTMLSelectElement>; readonly children: ReactNode };

/** The host's own list box: complete by keyboard and known to every screen reader. */
export function SelectField({ label, hint, warning, error, children, ...select }: SelectFieldProps) {
  return (
    <Field label={label} hint={hint} warning={warning} error={error}>
      {(ids) => (
        <select {...select} {...ids} className="input">
          {children}
        </select>
      )}
    </Field>
  );
}

export interface Choice<V extends string> {
  readonly value: V;
  readonly label: string;
  readonly detail?: ReactNode;
  readonly disabled?: boolean;
}

interface ChoicesProps<V extends string> {
  readonly label: string;
  readonly labelHidden?: boolean;
  readonly choices: readonly Choice<V>[];
  readonly value: V;
  readonly onChange: (value: V) => void;
}

/** A group of radio buttons. */
export function Choices<V extends string>({ label, labelHidden, choices, value, onChange }: ChoicesProps<V>) {
  const name = useId();
  return (
    <div className="field" role="radiogroup" aria-labelledby={`${name}-label`}>
      <div id={`${name}-label`} className={labelHidden === true ? 'visually-hidden' : 'field__label'}>
        {label}
      </div>
      <div className="choices">
        {choices.map((choice, index) => (
          <div key={choice.value} className="choice">
            <input
              type="radio"
              id={`${name}-${index}`}
              name={name}
              checked={choice.value === value}
              disabled={choice.disabled === true}
              onChange={() => onChange(choice.value)}
              {...(choice.detail === undefined ? {} : { 'aria-describedby': `${name}-${index}-detail` })}
            />
            <span className="choice__text">
              <label htmlFor={`${name}-${index}`}>{choice.label}</label>
              {choice.detail !== undefined && (
                <span id={`${name}-${index}-detail`} className="field__hint">
                  {choice.detail}
                </span>
              )}
            </span>
          </div>
        ))}
      </div>
    </div>
  );
}

interface CheckboxProps {
  readonly label: string;
  readonly detail?: ReactNode;
  readonly checked: boolean;
  readonly onChange: (checked: boolean) => void;
}

export function Checkbox({ label, detail, checked, onChange }: CheckboxProps) {
  const id = useId();
  return (
    <div className="choice">
      <input
        type="checkbox"
        id={id}
        checked={checked}
        onChange={(event) => onChange(event.target.checked)}
        {...(detail === undefined ? {} : { 'aria-describedby': `${id}-detail` })}
      />
      <span className="choice__text">
        <label htmlFor={id}>{label}</label>
        {detail !== undefined && (
          <span id={`${id}-detail`} className="field__hint">
            {detail}
          </span>
        )}
      </span>
    </div>
  );
}
