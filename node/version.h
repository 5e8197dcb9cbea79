#ifndef CW_NODE_VERSION_H
#define CW_NODE_VERSION_H

#define CW_VERSION "0.1.0"

#endif
