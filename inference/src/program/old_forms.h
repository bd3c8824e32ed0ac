// Flags that were renamed, and still work as they did.
#ifndef RRN_PROGRAM_OLD_FORMS_H_
#define RRN_PROGRAM_OLD_FORMS_H_

#include <string>
#include <vector>

#include "program/flags/typed.h"
#include "rrn/status.h"

namespace rrn {

// Puts what --action says into the flags that took its place.
//   notes: receives a line for each old form, which says what it is called now.
// Errors: kInvalidArgument (an action that does not exist, or old and new forms together).
Status TranslateOldForms(Typed* typed, std::vector<std::string>* notes);

}  // namespace rrn

#endif  // RRN_PROGRAM_OLD_FORMS_H_
