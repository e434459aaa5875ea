/*
 * The loop of a small interpreter: a stack machine whose operations are dispatched by a switch. Its program counts the
 * steps of the Collatz sequences of all numbers below a limit.
 */
#include "bench.h"

enum operation { PUSH, LOAD, STORE, ADD, MULTIPLY, SHIFT_RIGHT, AND, LESS, JUMP_IF_ZERO, JUMP, HALT };
enum variable { NUMBER, CURRENT, STEPS, VARIABLES };
enum { LIMIT = 40000 };

static const struct instruction {
    enum operation operation;
    int64_t operand;
} program[] = {
    /* for (number = 1; number < LIMIT; number++) */
    [0] = {PUSH, 1}, {STORE, NUMBER},
    [2] = {LOAD, NUMBER}, {PUSH, LIMIT}, {LESS, 0}, {JUMP_IF_ZERO, 36},
    /*     for (current = number; 1 < current; steps++) */
    [6] = {LOAD, NUMBER}, {STORE, CURRENT},
    [8] = {PUSH, 1}, {LOAD, CURRENT}, {LESS, 0}, {JUMP_IF_ZERO, 31},
    [12] = {LOAD, STEPS}, {PUSH, 1}, {ADD, 0}, {STORE, STEPS},
    /*         current = current & 1 ? current * 3 + 1 : current >> 1; */
    [16] = {LOAD, CURRENT}, {PUSH, 1}, {AND, 0}, {JUMP_IF_ZERO, 27},
    [20] = {LOAD, CURRENT}, {PUSH, 3}, {MULTIPLY, 0}, {PUSH, 1}, {ADD, 0}, {STORE, CURRENT}, {JUMP, 8},
    [27] = {LOAD, CURRENT}, {SHIFT_RIGHT, 1}, {STORE, CURRENT}, {JUMP, 8},
    [31] = {LOAD, NUMBER}, {PUSH, 1}, {ADD, 0}, {STORE, NUMBER}, {JUMP, 2},
    [36] = {HALT, 0},
};

uint64_t run_bytecode(void)
{
    int64_t stack[16], variables[VARIABLES] = {0};
    int64_t *top = stack; /* the next free place */
    const struct instruction *next = program;
    for (;;) {
        int64_t operand = next->operand;
        switch (next++->operation) {
        case PUSH:
            *top++ = operand;
            break;
        case LOAD:
            *top++ = variables[operand];
            break;
        case STORE:
            variables[operand] = *--top;
            break;
        case ADD:
            top--;
            top[-1] += top[0];
            break;
        case MULTIPLY:
            top--;
            top[-1] *= top[0];
            break;
        case SHIFT_RIGHT:
            top[-1] >>= operand;
            break;
        case AND:
            top--;
            top[-1] &= top[0];
            break;
        case LESS:
            top--;
            top[-1] = top[-1] < top[0];
            break;
        case JUMP_IF_ZERO:
            if (*--top == 0)
                next = program + operand;
            break;
        case JUMP:
            next = program + operand;
            break;
        case HALT:
            return (uint64_t)variables[STEPS];
        }
    }
}
