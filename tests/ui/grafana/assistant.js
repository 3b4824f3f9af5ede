export const OpenAssistantButton = () => null;
export const createAssistantContextItem = () => null;
