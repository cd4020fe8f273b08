/* A wavegen model that makes sound, or images, in any program.

   The library allocates nothing, starts no thread, opens no file, and of the C library calls the mathematics and, where
   the compiler put it in, memset or memcpy. Whoever calls it reads the model file into memory and brings the room that
   the model works in. Both begin at a multiple of 64 bytes, stay where they are, and belong to one stream: several
   streams of a model share the file and have a room each. */

#ifndef WAVEGEN_H
#define WAVEGEN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Addresses are passed as integers. */
#define WAVEGEN_ADDRESS(pointer) ((int64_t)(intptr_t)(pointer))

/* What is wrong with a file. */
enum {
    WAVEGEN_NOT_A_MODEL = -1,
    WAVEGEN_OTHER_VERSION = -2,
    WAVEGEN_OTHER_CPU = -3, /* exported for vectors of another width: export both with the same --machine */
    WAVEGEN_DAMAGED = -4
};

/* Options of `wavegen_change`. A label is WAVEGEN_LABEL + its number, and its value the number of one of its values, in
   the order that `wavegen models inspect` shows; the number behind the last is "unknown". */
enum {
    WAVEGEN_TEMPERATURE = 0,
    WAVEGEN_TOP_K = 1, /* NAN switches this and the next two off */
    WAVEGEN_TOP_P = 2,
    WAVEGEN_VOICED_TEMPERATURE = 3,
    WAVEGEN_GUIDANCE = 4,
    WAVEGEN_TEMPERATURE_FRAMES = 5,
    WAVEGEN_MATCH = 6, /* 1 scales sound until it has the frames that were planned, 0 leaves it as it is made */
    WAVEGEN_LABEL = 7
};

/* Bytes of room that a model needs, or what is wrong with the file. */
int64_t wavegen_room(int64_t file, int64_t n_bytes);

/* Prepare a room, and begin; `wavegen_room` has found the file good. Options are as the model was made to have them. */
void wavegen_start(int64_t file, int64_t room, int64_t seed);

/* Go back to the beginning; the sounds or images of one seed have numbers. Options stay. */
void wavegen_restart(int64_t room, int64_t seed, int64_t number);

/* Change an option for what is not made yet: a planned sound is made 256 samples at a time, and its plan some frames
 * ahead. Returns 1, or 0 if there is none such, or it takes no such value. */
int64_t wavegen_change(int64_t room, int64_t option, double value);

/* Put the next n samples, from -1 to 1, into an array of float; of an image the next n colours of pixels, 0 to 1. */
void wavegen_make(int64_t room, int64_t samples, int64_t n);

/* The same of n_rooms rooms of one library, whose addresses are in an array: n samples of each, one behind the other. */
void wavegen_make_each(int64_t rooms, int64_t samples, int64_t n, int64_t n_rooms);

/* Mean surprise of lately drawn codes, bits per sample; NAN at first, and of models that list no probabilities. */
double wavegen_bits(int64_t room);

/* Of an image: let the next n colours of pixels be those in an array of float, and be drawn where it holds -1. Returns
   1, or 0 if the image has not so many left. */
int64_t wavegen_give(int64_t room, int64_t colours, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
