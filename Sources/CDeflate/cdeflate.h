// The system's libdeflate.
#include <libdeflate.h>
