/* Let a model make some seconds of sound: cc -O2 example.c libwavegen.a -lm -o example && ./example MODEL.wavegen 5 out.wav */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wavegen.h"

#define RATE @RATE@ /* Hz, of the model that this was exported with */
#define ALIGNED(n) (((n) + 63) / 64 * 64)

static int fail(const char *message, const char *name) {
    fprintf(stderr, "%s: %s\n", name, message);
    return 2;
}

static void put(unsigned char *header, int at, unsigned long value, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) header[at + i] = (unsigned char)(value >> (8 * i));
}

int main(int argc, char **argv) {
    if (argc != 4) return fail("expected MODEL SECONDS OUT", argv[0]);
    FILE *input = fopen(argv[1], "rb");
    if (!input) return fail("cannot be read", argv[1]);
    fseek(input, 0, SEEK_END);
    long n_bytes = ftell(input);
    rewind(input);
    void *file = aligned_alloc(64, (size_t)ALIGNED(n_bytes + 1));
    if (!file || fread(file, 1, (size_t)n_bytes, input) != (size_t)n_bytes) return fail("cannot be read", argv[1]);
    fclose(input);

    int64_t n_room = wavegen_room(WAVEGEN_ADDRESS(file), n_bytes);
    if (n_room == WAVEGEN_OTHER_CPU) return fail("was exported for another CPU than this library", argv[1]);
    if (n_room < 0) return fail("is no model, damaged, or of another version of wavegen", argv[1]);
    void *room = aligned_alloc(64, (size_t)ALIGNED(n_room));
    long n = (long)(atof(argv[2]) * RATE);
    float *samples = malloc(sizeof(float) * (size_t)(n + 1));
    if (!room || !samples || n < 1) return fail("there is not enough memory, or SECONDS is no positive number", argv[0]);

    wavegen_start(WAVEGEN_ADDRESS(file), WAVEGEN_ADDRESS(room), 0); /* seed 0 */
    wavegen_make(WAVEGEN_ADDRESS(room), WAVEGEN_ADDRESS(samples), n);

    unsigned char header[44] = "RIFF    WAVEfmt "; /* 16 bits, one channel */
    put(header, 4, 36 + 2 * (unsigned long)n, 4);
    put(header, 16, 16, 4), put(header, 20, 1, 2), put(header, 22, 1, 2);
    put(header, 24, RATE, 4), put(header, 28, 2 * RATE, 4), put(header, 32, 2, 2), put(header, 34, 16, 2);
    memcpy(header + 36, "data", 4);
    put(header, 40, 2 * (unsigned long)n, 4);
    FILE *output = fopen(argv[3], "wb");
    if (!output || fwrite(header, 1, sizeof header, output) != sizeof header) return fail("cannot be written", argv[3]);
    for (long i = 0; i < n; i++) {
        long value = lrintf(samples[i] * 32768);
        unsigned char two[2];
        put(two, 0, (unsigned long)(value > 32767 ? 32767 : value < -32768 ? -32768 : value), 2);
        if (fwrite(two, 1, 2, output) != 2) return fail("cannot be written", argv[3]);
    }
    return fclose(output) ? fail("cannot be written", argv[3]) : 0;
}
